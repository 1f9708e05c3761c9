# The README's policy for UDP, which has neither handshake nor reset: each datagram is whole frames, and what
# is refused is dropped. The outstation may speak first, when it reports unsolicited.
iptables -P FORWARD DROP
iptables -N DNP3-UDP
iptables -N DNP3-UDP-REPLY
iptables -A FORWARD -p udp --dport 20000 -d $RTU -j DNP3-UDP
iptables -A FORWARD -p udp --sport 20000 -s $RTU -j DNP3-UDP-REPLY

# from the master: confirm, read, write, unsolicited on (20) and off (21), clocks (23, 24), keep alive
iptables -A DNP3-UDP -m conntrack --ctstate INVALID -j DROP
iptables -A DNP3-UDP -p udp -m dnp3 --status valid --frames any --fc restart -m limit --limit 6/min -j LOG --log-prefix "dnp3 restart "
iptables -A DNP3-UDP -p udp -s $MASTER -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --saddr 1 --daddr 10:20 --fc 0,1,2,20,21,23,24,link -j ACCEPT
iptables -A DNP3-UDP -p udp -j DROP

# from the outstation: answer, report, keep alive
iptables -A DNP3-UDP-REPLY -m conntrack --ctstate INVALID -j DROP
iptables -A DNP3-UDP-REPLY -p udp -d $MASTER -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --dir outstation --saddr 10:20 --daddr 1 --fc 129,130,link,cont -j ACCEPT
iptables -A DNP3-UDP-REPLY -p udp -j DROP
