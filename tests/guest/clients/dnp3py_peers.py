# SPDX-License-Identifier: GPL-2.0
"""A master and an outstation of dnp3py, pure Python: each an asyncio loop in a thread of its own, and that
thread in a network namespace."""

import asyncio
import logging
import threading

from dnp3.application.builder import build_cold_restart_request, build_write_request
from dnp3.application.fragment import ObjectBlock
from dnp3.application.qualifiers import CountRange, ObjectHeader, PrefixCode, RangeCode
from dnp3.core.timestamp import DNP3Timestamp
from dnp3.database import AnalogInputConfig, BinaryOutputConfig, Database, DatabaseConfig
from dnp3.datalink.builder import build_request_link_status
from dnp3.master import DefaultSOEHandler, Master as Application, MasterConfig, MasterTcpRunner
from dnp3.master.commands import CommandBuilder
from dnp3.master.tcp_runner import MasterRunnerError
from dnp3.outstation import Outstation as Station, OutstationConfig, OutstationTcpRunner
from dnp3.outstation.handler import CommandResult, DefaultCommandHandler
from dnp3.transport_io.channel import ChannelError

from network import PORT, SECONDS, Wrong, until, within

# It warns of points of yadnp3's that it does not know, and of what we have it do wrong.
logging.getLogger("dnp3").setLevel(logging.CRITICAL)


class Peer:
    """A loop in a thread in a namespace."""

    def __init__(self, namespace):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, args=[namespace], daemon=True)
        self.thread.start()

    def _run(self, namespace):
        with within(namespace):
            self.loop.run_forever()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(SECONDS)

    def _end(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(SECONDS)


class Outstation(Peer):
    """A station with so many analog inputs that a response has several fragments."""

    def __init__(self, namespace, host, address=10, points=600):
        super().__init__(namespace)
        self.restarts, self.times, self.commands = [], [], []
        database = Database(config=DatabaseConfig(max_analog_inputs=points))
        for index in range(points):
            database.add_analog_input(index, AnalogInputConfig())
        for index in range(10):
            database.add_binary_output(index, BinaryOutputConfig())
        station = Station(database=database, config=OutstationConfig(address=address),
                          handler=self._handler(), time_handler=self._time)
        self.runner = OutstationTcpRunner(outstation=station, host=host, port=PORT)
        self.task = asyncio.run_coroutine_threadsafe(self.runner.run(), self.loop)
        until(lambda: self.task.done() or self.runner.is_running, "the outstation listens")
        if self.task.done():
            self.task.result()

    def _time(self, timestamp):
        self.times.append(timestamp.milliseconds)

    def _handler(self):
        peer = self

        class Handler(DefaultCommandHandler):
            def select_binary_output(self, index, **_):
                peer.commands.append(("select", index))
                return CommandResult.success()

            def operate_binary_output(self, index, **_):
                peer.commands.append(("operate", index))
                return CommandResult.success()

            def direct_operate_binary_output(self, index, **_):
                peer.commands.append(("direct operate", index))
                return CommandResult.success()

            def cold_restart(self):
                peer.restarts.append(True)
                return 1000

        return Handler()

    def stop(self):
        self.call(self.runner.stop())
        self.task.result(SECONDS)
        self._end()


class Master(Peer):
    """A master that asks when it is told to. What is refused raises MasterRunnerError, or ChannelError."""

    def __init__(self, namespace, host, address=1, station=10):
        super().__init__(namespace)
        self.address, self.station = address, station
        self.handler = DefaultSOEHandler()
        self.application = Application(
            handler=self.handler, config=MasterConfig(address=address, outstation_address=station))
        self.runner = MasterTcpRunner(
            master=self.application, host=host, port=PORT, response_timeout=SECONDS)

    def open(self):
        self.call(self.runner.open())

    def close(self):
        self.call(self.runner.close())

    def integrity(self):
        return self.call(self.runner.integrity_poll())

    def start_integrity(self):
        """Asks, and does not wait; the answer may be cancelled."""
        return asyncio.run_coroutine_threadsafe(self.runner.integrity_poll(), self.loop)

    def events(self):
        return self.call(self.runner.class_poll())

    def enable_unsolicited(self):
        return self.call(self.runner.enable_unsolicited())

    def unsolicited(self):
        return self.call(self.runner.listen_unsolicited(timeout=SECONDS / 2))

    def request(self, request):
        return self.call(self.runner.request(request))

    def write_time(self, milliseconds):
        """WRITE of g50v1."""
        header = ObjectHeader.build(group=50, variation=1, prefix=PrefixCode.NONE,
                                    range_code=RangeCode.UINT8_COUNT)
        block = ObjectBlock(header=header, data=CountRange(count=1).to_bytes_1()
                            + DNP3Timestamp(milliseconds).to_bytes())
        return self.request(build_write_request((block,), self.application.next_request_sequence()))

    def keep_alive(self):
        """REQUEST_LINK_STATUS, which dnp3py sends only when it is told so."""
        frame = build_request_link_status(self.station, self.address, True)
        self.call(self.runner.channel.write_all(frame.to_bytes()))

    def select_and_operate(self, index):
        commands = CommandBuilder().latch_on(index)
        return [*self.request(self.application.build_select(commands.build_select())),
                *self.request(self.application.build_operate(commands.build_operate()))]

    def direct_operate(self, index):
        commands = CommandBuilder().latch_on(index)
        return self.request(self.application.build_direct_operate(commands.build_direct_operate()))

    def cold_restart(self):
        return self.request(build_cold_restart_request(self.application.next_request_sequence()))

    def refused(self, ask):
        """Asks, and wants to be cut off."""
        try:
            answer = ask()
        except (MasterRunnerError, ChannelError) as error:
            self.close()
            return str(error)
        raise Wrong(f"answered: {answer}")

    def stop(self):
        self.close()
        self._end()
