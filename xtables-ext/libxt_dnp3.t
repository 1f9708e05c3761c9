# SPDX-License-Identifier: GPL-2.0
#
# Rules as iptables' own iptables-test.py reads them: what is written, what iptables-save then shows
# ("=": the same), and whether it is taken. Upstream keeps a file like this beside each extension.
#
# What upstream's script cannot see: a FAIL row passes for whatever reason the rule was refused, be it that
# the extension is not there. So here is one of each kind; the words of every refusal are held by
# core/tests/text.rs and xtables-ext/tests/iptables.rs. tests/tests/suites counts the rows, runs them
# with 1.8.9 and newer, and sees the script fail where it should. Before 1.8.10 the script runs libxt_*.t
# under iptables alone, and is given the rows as libip6t_dnp3.t too.
:FORWARD
#
# the bare match, and what stands beside it in a rule
-p tcp -m dnp3;=;OK
-p udp -m dnp3;=;OK
-p 6 -m dnp3;-p tcp -m dnp3;OK
-m dnp3 --fc 1 -p tcp;-p tcp -m dnp3 --fc 1;OK
-p tcp -m tcp --dport 20000 -m dnp3 --fc 1 -j ACCEPT;=;OK
-p udp -m dnp3 --fc 1 -m udp --sport 20000 -j DROP;=;OK
-p tcp -m dnp3 --fc 13 -m limit --limit 6/min -j LOG --log-prefix "dnp3 restart ";=;OK
-p tcp -m dnp3 --saddr 1 -m dnp3 ! --fc 13:14;=;OK
-p tcp -m dnp3 -m dnp3 --saddr 1 -j REJECT --reject-with tcp-reset;=;OK
#
# --saddr, --source-addr: one, a range, a list
-p tcp -m dnp3 --saddr 1;=;OK
-p udp -m dnp3 --saddr 1;=;OK
-p tcp -m dnp3 ! --saddr 1;=;OK
-p tcp -m dnp3 --source-addr 1;-p tcp -m dnp3 --saddr 1;OK
-p udp -m dnp3 ! --source-addr 10:20;-p udp -m dnp3 ! --saddr 10:20;OK
-p tcp -m dnp3 --saddr=1;-p tcp -m dnp3 --saddr 1;OK
-p tcp -m dnp3 --saddr 0;=;OK
-p tcp -m dnp3 --saddr 65535;=;OK
-p tcp -m dnp3 --saddr 10:20;=;OK
-p tcp -m dnp3 --saddr 1,5,10:20;=;OK
-p tcp -m dnp3 --saddr 0:65535;=;OK
-p tcp -m dnp3 ! --saddr 1:65535;=;OK
-p tcp -m dnp3 --saddr 0x10;-p tcp -m dnp3 --saddr 16;OK
-p tcp -m dnp3 --saddr 0x0:0xFffF;-p tcp -m dnp3 --saddr 0:65535;OK
-p tcp -m dnp3 --saddr :9;-p tcp -m dnp3 --saddr 0:9;OK
-p tcp -m dnp3 --saddr 65520:;-p tcp -m dnp3 --saddr 65520:65535;OK
-p tcp -m dnp3 --saddr :0,65535:;-p tcp -m dnp3 --saddr 0,65535;OK
-p tcp -m dnp3 --saddr self;-p tcp -m dnp3 --saddr 65532;OK
-p tcp -m dnp3 --saddr broadcast;-p tcp -m dnp3 --saddr 65533:65535;OK
-p tcp -m dnp3 --saddr broadcast,self;-p tcp -m dnp3 --saddr 65532:65535;OK
-p tcp -m dnp3 --saddr Broadcast,SELF,1;-p tcp -m dnp3 --saddr 1,65532:65535;OK
# duplicates, overlaps and neighbours become one; order is ascending
-p tcp -m dnp3 --saddr 1:1;-p tcp -m dnp3 --saddr 1;OK
-p tcp -m dnp3 --saddr 1,1;-p tcp -m dnp3 --saddr 1;OK
-p tcp -m dnp3 --saddr 3,1;-p tcp -m dnp3 --saddr 1,3;OK
-p tcp -m dnp3 --saddr 1,2,3;-p tcp -m dnp3 --saddr 1:3;OK
-p tcp -m dnp3 --saddr 20:30,10:19;-p tcp -m dnp3 --saddr 10:30;OK
-p tcp -m dnp3 --saddr 10:20,15:30,12;-p tcp -m dnp3 --saddr 10:30;OK
# eight ranges are what a rule holds, counted after merging
-p tcp -m dnp3 --saddr 1,3,5,7,9,11,13,15;=;OK
-p tcp -m dnp3 ! --saddr 0:1,10:11,20:21,30:31,40:41,50:51,60:61,65534:65535;=;OK
-p tcp -m dnp3 --saddr 1,3,5,7,9,11,13,15,16,2;-p tcp -m dnp3 --saddr 1:3,5,7,9,11,13,15:16;OK
-p tcp -m dnp3 --saddr 1,3,5,7,9,11,13,15,17;;FAIL
-p tcp -m dnp3 --saddr 65536;;FAIL
-p tcp -m dnp3 --saddr 0X10;;FAIL
-p tcp -m dnp3 --saddr -1;;FAIL
-p tcp -m dnp3 --saddr 01;;FAIL
-p tcp -m dnp3 --saddr 20:10;;FAIL
-p tcp -m dnp3 --saddr :;;FAIL
-p tcp -m dnp3 --saddr brodcast;;FAIL
-p tcp -m dnp3 --saddr "";;FAIL
-p tcp -m dnp3 --saddr 1,,2;;FAIL
-p tcp -m dnp3 --saddr ! 1;;FAIL
-p tcp -m dnp3 --saddr 1 --saddr 1;;FAIL
-p tcp -m dnp3 --saddr 1 --source-addr 2;;FAIL
-p tcp -m dnp3 ! ! --saddr 1;;FAIL
#
# --daddr, --destination-addr: the same grammar
-p tcp -m dnp3 --daddr 10;=;OK
-p udp -m dnp3 ! --daddr 10;=;OK
-p tcp -m dnp3 --destination-addr 10:20;-p tcp -m dnp3 --daddr 10:20;OK
-p tcp -m dnp3 ! --destination-addr :9;-p tcp -m dnp3 ! --daddr 0:9;OK
-p tcp -m dnp3 --daddr 0,65535;=;OK
-p tcp -m dnp3 --daddr 0:65535;=;OK
-p tcp -m dnp3 --daddr broadcast;-p tcp -m dnp3 --daddr 65533:65535;OK
-p tcp -m dnp3 ! --daddr self,broadcast;-p tcp -m dnp3 ! --daddr 65532:65535;OK
-p tcp -m dnp3 --daddr 2,1,0xb:0xc,10;-p tcp -m dnp3 --daddr 1:2,10:12;OK
-p tcp -m dnp3 --daddr 0:10,20:30,40:50,60:70,80:90,100:110,120:130,65535;=;OK
-p tcp -m dnp3 --saddr 1 --daddr 10:20;=;OK
-p tcp -m dnp3 --daddr 10:20 ! --saddr 1;-p tcp -m dnp3 ! --saddr 1 --daddr 10:20;OK
-p tcp -m dnp3 --daddr 0,2,4,6,8,10,12,14,16;;FAIL
-p tcp -m dnp3 --daddr 65536;;FAIL
-p tcp -m dnp3 --destination-addr 1,;;FAIL
-p tcp -m dnp3 --daddr 1 --destination-addr 1;;FAIL
#
# --fc, --function-code: codes and ranges
-p tcp -m dnp3 --fc 0;=;OK
-p udp -m dnp3 --fc 0;=;OK
-p tcp -m dnp3 --fc 255;=;OK
-p tcp -m dnp3 ! --fc 13;=;OK
-p tcp -m dnp3 --function-code 1;-p tcp -m dnp3 --fc 1;OK
-p udp -m dnp3 ! --function-code 13,14;-p udp -m dnp3 ! --fc 13:14;OK
-p tcp -m dnp3 --fc 0:2;=;OK
-p tcp -m dnp3 --fc 0:255;=;OK
-p tcp -m dnp3 --fc 0,2,4,6,8,10,12,14,16,18,20;=;OK
-p tcp -m dnp3 --fc 31:32,63:64,127:128,191:192;=;OK
-p tcp -m dnp3 --fc 0x0:0xff;-p tcp -m dnp3 --fc 0:255;OK
-p tcp -m dnp3 --fc 2,1,1,0:1;-p tcp -m dnp3 --fc 0:2;OK
-p tcp -m dnp3 --fc 256;;FAIL
-p tcp -m dnp3 --fc 2:1;;FAIL
-p tcp -m dnp3 --fc :2;;FAIL
-p tcp -m dnp3 --fc 1,;;FAIL
-p tcp -m dnp3 --fc;;FAIL
-p tcp -m dnp3 --fc ! 1;;FAIL
-p tcp -m dnp3 --fc 1 --fc 2;;FAIL
-p tcp -m dnp3 --fc 1 ! --function-code 2;;FAIL
# names, in any case, with - or _
-p tcp -m dnp3 --fc read,write;-p tcp -m dnp3 --fc 1:2;OK
-p tcp -m dnp3 --fc confirm,select,operate,direct_operate,direct_operate_nr;-p tcp -m dnp3 --fc 0,3:6;OK
-p tcp -m dnp3 --fc COLD_RESTART,Warm-Restart;-p tcp -m dnp3 --fc 13:14;OK
-p tcp -m dnp3 --fc immed_freeze,freeze_clear,freeze-at-time-nr;-p tcp -m dnp3 --fc 7,9,12;OK
-p tcp -m dnp3 --fc immed_freeze_nr,freeze_clear_nr,freeze_at_time;-p tcp -m dnp3 --fc 8,10:11;OK
-p tcp -m dnp3 --fc freeze_at_time_nr;-p tcp -m dnp3 --fc 12;OK
-p tcp -m dnp3 --fc initialize_data,start_appl,stop_appl,save_config;-p tcp -m dnp3 --fc 15,17:19;OK
-p tcp -m dnp3 ! --fc initialize_appl,activate_config;-p tcp -m dnp3 ! --fc 16,31;OK
-p udp -m dnp3 --fc warm_restart;-p udp -m dnp3 --fc 14;OK
-p tcp -m dnp3 --fc enable_unsolicited,disable_unsolicited,assign_class;-p tcp -m dnp3 --fc 20:22;OK
-p tcp -m dnp3 --fc delay_measure,record_current_time;-p tcp -m dnp3 --fc 23:24;OK
-p tcp -m dnp3 --fc open_file,close_file,delete_file,get_file_info,authenticate_file,abort_file;-p tcp -m dnp3 --fc 25:30;OK
-p udp -m dnp3 --fc authenticate_req,authenticate_req_nr;-p udp -m dnp3 --fc 32:33;OK
-p tcp -m dnp3 --fc response,unsolicited_response,authenticate_resp;-p tcp -m dnp3 --fc 129:131;OK
-p tcp -m dnp3 --fc read,13,200:201;-p tcp -m dnp3 --fc 1,13,200:201;OK
-p tcp -m dnp3 --fc raed;;FAIL
-p tcp -m dnp3 --fc read:write;;FAIL
# frames without a function code
-p tcp -m dnp3 --fc link;=;OK
-p tcp -m dnp3 ! --fc cont;=;OK
-p tcp -m dnp3 --fc cont,LINK;-p tcp -m dnp3 --fc link,cont;OK
-p tcp -m dnp3 --fc link,0,cont,1,2;-p tcp -m dnp3 --fc 0:2,link,cont;OK
# groups, each by itself, together, and with what they hold already
-p tcp -m dnp3 --fc requests;-p tcp -m dnp3 --fc 0:33;OK
-p tcp -m dnp3 --fc responses;-p tcp -m dnp3 --fc 129:131;OK
-p tcp -m dnp3 --fc control;-p tcp -m dnp3 --fc 3:6;OK
-p tcp -m dnp3 --fc freeze;-p tcp -m dnp3 --fc 7:12;OK
-p tcp -m dnp3 ! --fc restart;-p tcp -m dnp3 ! --fc 13:14;OK
-p tcp -m dnp3 --fc application;-p tcp -m dnp3 --fc 15:18;OK
-p tcp -m dnp3 --fc config;-p tcp -m dnp3 --fc 19,31;OK
-p tcp -m dnp3 --fc unsolicited;-p tcp -m dnp3 --fc 20:21;OK
-p tcp -m dnp3 --fc file;-p tcp -m dnp3 --fc 25:30;OK
-p tcp -m dnp3 --fc auth;-p tcp -m dnp3 --fc 32:33,131;OK
-p tcp -m dnp3 --fc Restart,application,config,20;-p tcp -m dnp3 --fc 13:20,31;OK
-p tcp -m dnp3 --fc requests,read,control,responses;-p tcp -m dnp3 --fc 0:33,129:131;OK
-p tcp -m dnp3 --fc group;;FAIL
#
# --status
-p tcp -m dnp3 --status none;=;OK
-p tcp -m dnp3 --status valid;=;OK
-p tcp -m dnp3 --status partial;=;OK
-p tcp -m dnp3 --status malformed;=;OK
-p udp -m dnp3 ! --status valid;=;OK
-p tcp -m dnp3 --status malformed,none;-p tcp -m dnp3 --status none,malformed;OK
-p tcp -m dnp3 --status VALID,valid,Partial;-p tcp -m dnp3 --status valid,partial;OK
-p tcp -m dnp3 --status none,valid,partial,malformed;=;OK
-p udp -m dnp3 --status partial,none;-p udp -m dnp3 --status none,partial;OK
-p tcp -m dnp3 --status ahead --track;=;OK
-p tcp -m dnp3 --track --status Ahead,none;-p tcp -m dnp3 --status none,ahead --track;OK
-p tcp -m dnp3 ! --status ahead --track;=;OK
-p tcp -m dnp3 --status none,valid,partial,malformed,ahead --track;=;OK
-p tcp -m dnp3 --status ahead;;FAIL
-p tcp -m dnp3 ! --status valid,ahead;;FAIL
-p udp -m dnp3 --status ahead;;FAIL
-p tcp -m dnp3 --status vaild;;FAIL
-p tcp -m dnp3 --status ! valid;;FAIL
-p tcp -m dnp3 --status valid --status valid;;FAIL
#
# --dir
-p tcp -m dnp3 --dir master;=;OK
-p udp -m dnp3 --dir outstation;=;OK
-p tcp -m dnp3 ! --dir master;=;OK
-p tcp -m dnp3 --dir OUTSTATION;-p tcp -m dnp3 --dir outstation;OK
-p tcp -m dnp3 --dir both;;FAIL
-p tcp -m dnp3 --dir master --dir master;;FAIL
#
# --frames; it is saved when it was given
-p tcp -m dnp3 --frames only;=;OK
-p udp -m dnp3 --frames any;=;OK
-p tcp -m dnp3 --fc 13 --frames ANY;-p tcp -m dnp3 --frames any --fc 13;OK
-p tcp -m dnp3 --frames any --status valid;=;OK
-p tcp -m dnp3 --frames only --status none,valid;=;OK
-p tcp -m dnp3 --frames all;;FAIL
-p tcp -m dnp3 ! --frames any;;FAIL
-p tcp -m dnp3 --frames any --frames any;;FAIL
#
# --track; it is saved behind the others, and is for TCP, wherever that is said
-p tcp -m dnp3 --track;=;OK
-p tcp -m dnp3 --track --fc 1;-p tcp -m dnp3 --fc 1 --track;OK
-p tcp -m dnp3 --frames any --track;=;OK
-p tcp -m dnp3 --status none --track;=;OK
-p tcp -m dnp3 --fc 1 --status partial --track;=;OK
-m dnp3 --track -p tcp;-p tcp -m dnp3 --track;OK
-p tcp -m tcp --dport 20000 -m dnp3 --fc 129 --track -m dnp3 --fc 1 -j ACCEPT;=;OK
-p udp -m dnp3 --track;;FAIL
-m dnp3 --fc 1 --track -p udp;;FAIL
-m dnp3 --track;;FAIL
-p tcp -m dnp3 ! --track;;FAIL
-p tcp -m dnp3 --track --track;;FAIL
-p tcp -m dnp3 --track=1;;FAIL
-p tcp -m dnp3 --track 1;;FAIL
#
# all of them, in any order
-p tcp -m dnp3 --frames any ! --saddr 1 ! --daddr 10:20 ! --fc 1,link ! --status none ! --dir master --track;=;OK
-p udp -m dnp3 --dir master --status valid --fc link,read --daddr 10 --saddr 1 --frames only;-p udp -m dnp3 --frames only --saddr 1 --daddr 10 --fc 1,link --status valid --dir master;OK
#
# what could never match
-p tcp -m dnp3 ! --saddr 0:65535;;FAIL
-p tcp -m dnp3 --frames any ! --daddr 0:;;FAIL
-p tcp -m dnp3 ! --daddr 0:65531;;FAIL
-p tcp -m dnp3 --frames any ! --daddr 0:65531;=;OK
-p tcp -m dnp3 ! --fc 0:255,link,cont;;FAIL
-p tcp -m dnp3 ! --fc 0:255,link;=;OK
-p tcp -m dnp3 ! --status none,valid,partial,malformed;;FAIL
-p tcp -m dnp3 --fc 1 --status none;;FAIL
-p tcp -m dnp3 --frames any --status none;;FAIL
-p tcp -m dnp3 --frames any --status none,partial;=;OK
-p udp -m dnp3 --status partial;;FAIL
-p tcp -m dnp3 --fc 1 --status partial;;FAIL
-p tcp -m dnp3 --fc 1 --status none,ahead --track;;FAIL
-p tcp -m dnp3 --frames any --status none --track;;FAIL
-p tcp -m dnp3 ! --status none,valid,partial,malformed,ahead --track;;FAIL
-p tcp -m dnp3 ! --status none,valid,partial,malformed --track;=;OK
#
# getopt_long completes an option that is begun
-p tcp -m dnp3 --function 1;-p tcp -m dnp3 --fc 1;OK
#
# the protocol: TCP or UDP, named and not inverted; of a bare match the kernel is who says so
-m dnp3;;FAIL
-m dnp3 --fc 1;;FAIL
-p icmp -m dnp3 --fc 1;;FAIL
! -p tcp -m dnp3 --fc 1;;FAIL
-m dnp3 --saddr 1 ! -p tcp;;FAIL
-p tcp -m dnp3 --fc 1 -m dnp3 --fc 256;;FAIL
