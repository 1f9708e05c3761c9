# SPDX-License-Identifier: GPL-2.0
"""A master and an outstation of yadnp3, which is opendnp3: each in a network namespace of its own.

opendnp3 calls us back from its own threads. What it says is kept, and whoever waits is woken.
"""

import threading
import time

import opendnp3 as dnp3

from network import PORT, SECONDS, Wrong, within

LOOSE = dnp3.LogLevels()
# Nothing is to be sent again because the machine is slow.
LONG = dnp3.TimeDuration.Seconds(SECONDS)


class Peer:
    """What both have: a manager with its thread in the namespace, and a memory."""

    def __init__(self, namespace):
        self.changed = threading.Condition()
        self.states = []
        self.kept = []
        with within(namespace):
            self.manager = dnp3.DNP3Manager(1)

    def keep(self, value):
        """opendnp3 shares what it is given, but not with Python."""
        self.kept.append(value)
        return value

    def note(self, where, what):
        with self.changed:
            where.append(what)
            self.changed.notify_all()

    def wait(self, condition, what):
        with self.changed:
            if not self.changed.wait_for(condition, SECONDS):
                raise Wrong(f"in {SECONDS} s not seen: {what}")

    def listener(self):
        peer = self

        class Listener(dnp3.IChannelListener):
            def OnStateChange(self, state):
                peer.note(peer.states, str(state).rpartition(".")[2])

        return self.keep(Listener())

    def is_open(self):
        return self.states[-1:] == ["OPEN"]

    def link(self, is_master, local, remote, keep_alive):
        return dnp3.LinkConfig(is_master, local, remote, LONG, dnp3.TimeDuration.Seconds(keep_alive))

    def stop(self):
        self.manager.Shutdown()


class Outstation(Peer):
    """A station with `points` points of each kind that opendnp3 knows."""

    def __init__(self, namespace, host, master=1, address=10, udp_master=None, points=100,
                 unsolicited=True, keep_alive=3600):
        super().__init__(namespace)
        self.restarts, self.times, self.commands, self.confirms = [], [], [], []
        self.need_time = False
        endpoint = dnp3.IPEndpoint(host, PORT)
        with within(namespace):
            if udp_master is None:
                # A master that comes again after a reset finds the old connection still open here.
                channel = self.manager.AddTCPServer(
                    "outstation", LOOSE, dnp3.ServerAcceptMode.CloseExisting, endpoint, self.listener())
            else:
                retry = dnp3.ChannelRetry(dnp3.TimeDuration.Milliseconds(100),
                                          dnp3.TimeDuration.Milliseconds(100))
                channel = self.manager.AddUDPChannel(
                    "outstation", LOOSE, retry, endpoint, dnp3.IPEndpoint(udp_master, PORT),
                    self.listener())
        config = dnp3.OutstationStackConfig(dnp3.DatabaseConfig(points))
        config.link = self.link(False, address, master, keep_alive)
        parameters = config.outstation.params
        parameters.allowUnsolicited = unsolicited
        parameters.selectTimeout = parameters.solConfirmTimeout = LONG
        if udp_master is None:
            # By UDP its first report is lost: nobody listens yet.
            parameters.unsolConfirmTimeout = LONG
        config.outstation.eventBufferConfig = dnp3.EventBufferConfig.AllTypes(100)
        self.channel, self.config = channel, config
        self.station = channel.AddOutstation(
            "outstation", self.keep(self.command_handler()), self.keep(self.application()), config)
        self.station.Enable()

    def command_handler(self):
        peer = self

        class Commands(dnp3.ICommandHandler):
            def Select(self, command, index):
                peer.note(peer.commands, ("select", type(command).__name__, index))
                return dnp3.CommandStatus.SUCCESS

            def Operate(self, command, index, handler, kind):
                peer.note(peer.commands, (kind.name, type(command).__name__, index))
                return dnp3.CommandStatus.SUCCESS

        return Commands()

    def application(self):
        peer = self

        class Application(dnp3.IOutstationApplication):
            def SupportsWriteAbsoluteTime(self):
                return True

            def WriteAbsoluteTime(self, timestamp):
                peer.need_time = False
                peer.note(peer.times, timestamp.msSinceEpoch)
                return True

            def GetApplicationIIN(self):
                indications = dnp3.ApplicationIIN()
                indications.needTime = peer.need_time
                return indications

            def ColdRestartSupport(self):
                return dnp3.RestartMode.SUPPORTED_DELAY_FINE

            def ColdRestart(self):
                peer.note(peer.restarts, time.monotonic())
                return 1

            def OnConfirmProcessed(self, is_unsolicited, *_):
                peer.note(peer.confirms, is_unsolicited)

        return Application()

    def event(self, index, value):
        """A measurement that differs from the last one."""
        builder = dnp3.UpdateBuilder()
        builder.Update(dnp3.Analog(value), index)
        self.station.Apply(builder.Build())


class Master(Peer):
    """A master that connects, and comes again when it was cut off."""

    def __init__(self, namespace, host, address=1, station=10, udp_local=None, keep_alive=3600,
                 time_sync="None", response_timeout=SECONDS):
        super().__init__(namespace)
        self.tasks, self.fragments, self.values = [], [], []
        retry = dnp3.ChannelRetry(dnp3.TimeDuration.Milliseconds(100), dnp3.TimeDuration.Seconds(1))
        remote = dnp3.IPEndpoint(host, PORT)
        with within(namespace):
            if udp_local is None:
                channel = self.manager.AddTCPClient(
                    "master", LOOSE, retry, [remote], "0.0.0.0", self.listener())
            else:
                channel = self.manager.AddUDPChannel(
                    "master", LOOSE, retry, dnp3.IPEndpoint(udp_local, PORT), remote,
                    self.listener())
        config = dnp3.MasterStackConfig()
        config.link = self.link(True, address, station, keep_alive)
        config.master.disableUnsolOnStartup = False
        config.master.timeSyncMode = getattr(dnp3.TimeSyncMode, time_sync)
        config.master.responseTimeout = dnp3.TimeDuration.Seconds(response_timeout)
        # By TCP nothing is tried again by itself within a test. By UDP what comes before the outstation listens
        # is lost, and so is what comes while it opens its socket anew, because a report of its had found nobody.
        again = dnp3.TimeDuration.Seconds(3600 if udp_local is None else 1)
        config.master.taskRetryPeriod = config.master.maxTaskRetryPeriod = again
        self.channel, self.config = channel, config
        self.events = self.keep(self.event_handler())
        self.master = channel.AddMaster(
            "master", self.events, self.keep(self.application()), config)
        self.master.Enable()

    def event_handler(self):
        peer = self

        class Events(dnp3.ISOEHandler):
            def BeginFragment(self, info):
                peer.note(peer.fragments, "unsolicited" if info.unsolicited else "response")

            def EndFragment(self, info):
                pass

            def Process(self, info, values):
                points = [(point.index, getattr(point.value, "value", None)) for point in values]
                peer.note(peer.values, (info.gv.name, points))

        return Events()

    def application(self):
        peer = self

        class Application(dnp3.IMasterApplication):
            def OnTaskComplete(self, info):
                peer.note(peer.tasks, (info.type.name, info.result.name))

            def OnReceiveIIN(self, iin):
                pass

            def Now(self):
                return dnp3.UTCTimestamp(int(time.time() * 1000))

        return Application()

    def ended(self, kind, since=0):
        """Results of the tasks of a kind."""
        return [result for name, result in self.tasks[since:] if name == kind]

    def task(self, start):
        """Starts a task of ours, and waits until it has ended: how."""
        since = len(self.tasks)
        start()
        self.wait(lambda: self.ended("USER_TASK", since), "the end of a task")
        return self.ended("USER_TASK", since)[0]

    def read(self, classes):
        return self.task(lambda: self.master.ScanClasses(classes, self.events))

    def integrity(self):
        return self.read(dnp3.ClassField.AllClasses())

    def _called_back(self, start):
        results = []
        start(lambda result: self.note(results, result))
        self.wait(lambda: results, "the answer to a command")
        return results[0]

    def select_and_operate(self, index):
        block = dnp3.ControlRelayOutputBlock(dnp3.OperationType.LATCH_ON)
        return self._called_back(
            lambda done: self.master.SelectAndOperate(block, index, done)).summary.name

    def direct_operate(self, index, value):
        command = dnp3.AnalogOutputInt16(value)
        return self._called_back(
            lambda done: self.master.DirectOperate(command, index, done)).summary.name

    def cold_restart(self):
        return self._called_back(
            lambda done: self.master.Restart(dnp3.RestartType.COLD, done)).summary.name
