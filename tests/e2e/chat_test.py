"""What a client sees of answers: order and content of the stream, seeds, stops, batches."""

import concurrent.futures
import unittest

import harness
import pictures
from harness import ask, chat_pb2, request

QUESTION = "What is in this picture?"
PICTURE = pictures.noise("JPEG")


class ChatTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server("--max_batch_size=8")
        cls.addClassCleanup(cls.server.__exit__, None, None, None)
        cls.chat = cls.server.chat
        cls.model = cls.chat.GetModel(chat_pb2.GetModelRequest(), timeout=harness.CALL_SECONDS)

    def ask_together(self, requests):
        with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
            return list(pool.map(lambda message: ask(self.chat, message), requests))

    def test_started_comes_first_and_finished_last_with_usage_and_times(self):
        answer = ask(
            self.chat,
            request(QUESTION, image=PICTURE, request_id="my-id", ignore_eos=True, max_tokens=20),
        )
        self.assertEqual(answer.started.request_id, "my-id")
        self.assertEqual(answer.started.image_tokens, self.model.limits.image_tokens)
        self.assertGreater(answer.started.prompt_tokens, answer.started.image_tokens)
        usage, timing = answer.finished.usage, answer.finished.timing
        self.assertEqual(usage.prompt_tokens, answer.started.prompt_tokens)
        self.assertEqual(usage.image_tokens, answer.started.image_tokens)
        self.assertEqual(usage.completion_tokens, 20)
        stages = ("preprocess", "queue", "vision", "prefill", "decode")
        for stage in stages:
            self.assertTrue(timing.HasField(stage), stage)
        seconds = {field.name: value.ToNanoseconds() / 1e9 for field, value in timing.ListFields()}
        self.assertGreater(seconds["time_to_first_token"], 0)
        self.assertAlmostEqual(sum(seconds[s] for s in stages), seconds["total"], delta=0.05)
        self.assertLess(seconds["time_to_first_token"], seconds["total"])

    def test_a_request_without_an_id_gets_one(self):
        first, second = (ask(self.chat, request("Hi", max_tokens=1)) for _ in range(2))
        self.assertTrue(first.started.request_id)
        self.assertNotEqual(first.started.request_id, second.started.request_id)

    def test_the_request_id_comes_back_in_the_initial_metadata(self):
        call = self.chat.Chat(
            request("Hi", max_tokens=1, request_id="abc"), timeout=harness.CALL_SECONDS
        )
        self.assertEqual(dict(call.initial_metadata()).get("x-request-id"), "abc")
        list(call)

    def test_a_text_only_question_has_no_image_tokens_and_no_vision_time(self):
        answer = ask(self.chat, request("Hello", max_tokens=5, ignore_eos=True))
        self.assertEqual(answer.finished.usage.image_tokens, 0)
        self.assertFalse(answer.finished.timing.HasField("vision"))

    def test_max_tokens_ends_with_length(self):
        for tokens in (1, 2, 7):
            answer = ask(self.chat, request("Hello", max_tokens=tokens, ignore_eos=True))
            self.assertEqual(answer.finished.reason, chat_pb2.FINISH_REASON_LENGTH)
            self.assertEqual(answer.finished.usage.completion_tokens, tokens)

    def test_stop_strings_end_the_answer_before_them(self):
        free = request("Hello", temperature=0, max_tokens=40, ignore_eos=True)
        whole = ask(self.chat, free).text
        self.assertGreater(len(whole), 8)
        stop = whole[4:7]
        free.generation.stop.extend(["\x01never\x01", stop])
        answer = ask(self.chat, free)
        self.assertEqual(answer.text, whole[: whole.index(stop)])
        self.assertEqual(answer.finished.reason, chat_pb2.FINISH_REASON_STOP_STRING)

    def test_a_stop_string_that_never_comes_changes_nothing(self):
        free = request("Hello", temperature=0, max_tokens=40, ignore_eos=True)
        whole = ask(self.chat, free)
        free.generation.stop.append(whole.text[-1] + "\x01")  # held back, then given out
        answer = ask(self.chat, free)
        self.assertEqual(answer.text, whole.text)
        self.assertEqual(answer.token_ids, whole.token_ids)
        self.assertEqual(answer.finished.reason, chat_pb2.FINISH_REASON_LENGTH)

    def test_the_same_seed_gives_the_same_answer_alone_and_in_a_batch(self):
        def seeded(seed):
            return request(
                QUESTION,
                image=PICTURE,
                seed=seed,
                temperature=1.5,
                top_p=1,
                max_tokens=30,
                ignore_eos=True,
            )

        alone = [ask(self.chat, seeded(seed)).token_ids for seed in range(4)]
        self.assertEqual([ask(self.chat, seeded(seed)).token_ids for seed in range(4)], alone)
        together = self.ask_together([seeded(seed) for seed in range(4)])
        self.assertEqual([answer.token_ids for answer in together], alone)
        self.assertGreater(len({tuple(ids) for ids in alone}), 1)

    def test_the_seed_that_the_server_drew_repeats_the_answer(self):
        free = request("Hello", temperature=1.5, max_tokens=30, ignore_eos=True)
        first = ask(self.chat, free)
        free.generation.seed = first.started.seed
        self.assertEqual(ask(self.chat, free).token_ids, first.token_ids)

    def test_greedy_is_the_same_alone_and_beside_seven_others(self):
        target = request(QUESTION, image=PICTURE, temperature=0, max_tokens=40, ignore_eos=True)
        alone = ask(self.chat, target).token_ids
        others = [
            request(f"Question {i}", temperature=1, max_tokens=10 * i + 1, ignore_eos=True)
            for i in range(7)
        ]
        self.assertEqual(self.ask_together([target] + others)[0].token_ids, alone)

    def test_the_history_counts(self):
        first = request("What is this?", image=PICTURE, temperature=0, max_tokens=10)
        turns = ("What is this?", "A picture.", "What colour is it?")
        follow_up = request(*turns, image=PICTURE, temperature=0, max_tokens=10)
        with_system = request(
            "Be short.", *turns, roles=("system", "user", "assistant", "user"), max_tokens=1
        )
        prompts = [ask(self.chat, message).started for message in (first, follow_up, with_system)]
        self.assertGreater(prompts[1].prompt_tokens, prompts[0].prompt_tokens)
        self.assertEqual(prompts[1].image_tokens, prompts[0].image_tokens)
        self.assertEqual(prompts[2].image_tokens, 0)

    def test_every_picture_format_is_read(self):
        for kind in ("JPEG", "PNG", "WEBP"):
            answer = ask(self.chat, request(QUESTION, image=pictures.plain(kind), max_tokens=1))
            self.assertGreater(answer.started.image_tokens, 0, kind)

    def test_a_stop_token_ends_the_answer_and_is_not_part_of_it(self):
        free = request(QUESTION, image=PICTURE, max_tokens=200, temperature=0)
        answer = ask(self.chat, free)
        if answer.finished.reason == chat_pb2.FINISH_REASON_STOP:
            self.assertEqual(answer.finished.usage.completion_tokens, len(answer.token_ids) + 1)
        else:
            self.assertEqual(answer.finished.usage.completion_tokens, 200)
        self.assertNotIn("<|", answer.text)

    def test_logprobs_come_with_every_token(self):
        answer = ask(
            self.chat, request("Hi", temperature=0, logprobs=3, max_tokens=6, ignore_eos=True)
        )
        self.assertEqual(len(answer.logprobs), len(answer.token_ids))
        for id, entry in zip(answer.token_ids, answer.logprobs):
            self.assertEqual(len(entry.alternatives), 3)
            values = [alternative.logprob for alternative in entry.alternatives]
            self.assertEqual(values, sorted(values, reverse=True))
            self.assertEqual(entry.alternatives[0].token_id, id)  # greedy takes the likeliest
            self.assertAlmostEqual(entry.logprob, values[0], places=5)
            self.assertLessEqual(entry.logprob, 0)

    def test_logprobs_of_zero_alternatives_and_none_at_all(self):
        answer = ask(self.chat, request("Hi", logprobs=0, max_tokens=3, ignore_eos=True))
        self.assertEqual(len(answer.logprobs), len(answer.token_ids))
        self.assertFalse(any(entry.alternatives for entry in answer.logprobs))
        answer = ask(self.chat, request("Hi", max_tokens=3, ignore_eos=True))
        self.assertEqual(answer.logprobs, [])

    def test_special_tokens_that_a_user_types_stay_text(self):
        plain = ask(self.chat, request("ab", max_tokens=1)).started.prompt_tokens
        typed = ask(self.chat, request("ab<|assistant|>", max_tokens=1)).started.prompt_tokens
        self.assertGreater(typed, plain + 1)

    def test_get_model_describes_the_model_and_the_limits(self):
        self.assertEqual(self.model.name, harness.MODEL.rstrip("/").split("/")[-1])
        self.assertIn(self.model.device, ("cpu", "cuda"))
        self.assertIn(self.model.dtype, ("float32", "bfloat16", "float16"))
        for field in ("parameters", "weight_bytes", "kv_cache_bytes", "vocabulary_size"):
            self.assertGreater(getattr(self.model, field), 0, field)
        limits = self.model.limits
        self.assertEqual(limits.max_batch_size, 8)
        self.assertEqual(limits.max_image_bytes, 16 << 20)
        self.assertEqual(limits.max_image_side, 16384)
        self.assertGreater(limits.max_message_bytes, limits.max_image_bytes)

    def test_refused_requests_leave_the_other_streams_alone(self):
        target = request("Hello", temperature=0, max_tokens=200, ignore_eos=True)
        alone = ask(self.chat, target).token_ids
        stream = self.chat.Chat(target, timeout=harness.CALL_SECONDS)
        events = [next(stream)]
        bad = (request("Hi", image=b"no picture"), request("Hi", top_p=7), request())
        for message in bad:
            with self.assertRaises(harness.grpc.RpcError):
                ask(self.chat, message)
        answer = harness.Answer(events + list(stream))
        self.assertEqual(answer.token_ids, alone)


if __name__ == "__main__":
    unittest.main(verbosity=2)
