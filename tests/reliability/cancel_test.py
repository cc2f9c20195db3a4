"""R7: calls that are cancelled at any moment of their life, among others that are not."""

import asyncio
import gc
import random
import unittest

import grpc
import harness
import pictures
import rig
from rig import FakeServer, ReliabilityTest, Row, open_files, size

TOKENS = 20
STEP_SECONDS = 0.001
CALLERS = 96  # at the same time: more than slots, so that some are cancelled while they wait
CHANNELS = 4


def requests():
    """Half of them with a picture: what is cancelled may be its decoding or its vision step."""
    generation = {"temperature": 0, "ignore_eos": True, "max_tokens": TOKENS}
    files = [pictures.noise(size=(64 + i, 64)) for i in range(8)]
    seen = [harness.request("What?", image=file, **generation) for file in files]
    return rig.prompts(8, max_tokens=TOKENS) + seen


class Callers:
    """Asks for `count` answers and leaves four of five of them."""

    def __init__(self, known, row, count):
        self.known, self.row, self.left = known, row, count
        self.dice = random.Random(7)
        self.cancelled = 0

    async def run(self, address):
        options = (("grpc.use_local_subchannel_pool", 1),)
        channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(CHANNELS)]
        stubs = [harness.chat_pb2_grpc.ChatServiceStub(channel) for channel in channels]
        await asyncio.gather(*(self.ask_on(stubs[i % CHANNELS]) for i in range(CALLERS)))
        for channel in channels:
            await channel.close()

    async def ask_on(self, stub):
        while self.left > 0:
            self.left -= 1
            self.row.requests += 1
            k = self.dice.randrange(len(self.known.messages))
            call = stub.Chat(self.known.messages[k], timeout=harness.CALL_SECONDS)
            try:
                then = self.leave if self.dice.random() < 0.8 else self.stay
                right = await then(k, call)
            except grpc.RpcError as error:
                print("not answered:", error.code(), error.details())
                right = False
            self.row.wrong_answers += not right

    async def stay(self, k, call):
        answer = harness.Answer([event async for event in call])
        return self.known.is_right(k, answer.token_ids)

    async def leave(self, k, call):
        """What came until then is the beginning of the right answer, and no other end follows."""
        self.cancelled += 1
        ids = []
        way = self.dice.randrange(3)
        if way == 1:
            await asyncio.sleep(self.dice.random() * 3 * TOKENS * STEP_SECONDS)
        elif way == 2:
            for _ in range(self.dice.randrange(TOKENS)):
                event = await call.read()
                if event is grpc.aio.EOF:
                    break
                ids += event.delta.token_ids
        call.cancel()
        code = await call.code()
        allowed = (grpc.StatusCode.CANCELLED, grpc.StatusCode.OK)  # it may have been complete
        return code in allowed and self.known.is_right(k, ids, whole=False)


class CancelTest(ReliabilityTest):
    def test_cancels_at_any_moment(self):
        count = size(1500, 100_000) * 13 // 10
        flags = ("--max_batch_size=16", "--max_queue_requests=512", "--block_size=4")
        times = (f"--decode_step_time={STEP_SECONDS}s", "--prefill_step_time=2ms")
        with FakeServer(*flags, *times, "--vision_layer_time=500us") as server:
            known = rig.Known(server, requests())
            files = open_files(server)
            row = Row("R7", "")
            callers = Callers(known, row, count)
            asyncio.run(callers.run(server.address))
            gc.collect()  # calls that lie in circles keep their connection open
            row.faults = f"{callers.cancelled} cancels: at once, after some time, after some tokens"
            row.leaks = self.leaks(server, files)
        self.finish(row)


if __name__ == "__main__":
    unittest.main(verbosity=2)
