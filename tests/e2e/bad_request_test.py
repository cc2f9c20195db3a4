"""Requests that are refused for what they hold, from a real client."""

import math
import unittest

import grpc
import pictures
from harness import CALL_SECONDS, Server, ask, chat_pb2, request
from status_case import StatusTestCase

Code = grpc.StatusCode


class BadRequestTest(StatusTestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(
            "--max_image_bytes=1000000", "--max_image_pixels=3000000", "--max_image_side=2500"
        )
        cls.addClassCleanup(cls.server.__exit__, None, None, None)
        cls.chat = cls.server.chat
        cls.limits = cls.chat.GetModel(
            chat_pb2.GetModelRequest(), timeout=CALL_SECONDS
        ).limits

    def tearDown(self):
        # Whatever came in, the server goes on.
        ask(self.chat, request("Hello", max_tokens=1))

    def violations(self, message):
        details = self.assert_refused(
            lambda: ask(self.chat, message), Code.INVALID_ARGUMENT, "INVALID_FIELD"
        )
        found = details["BadRequest"].field_violations
        self.assertTrue(all(violation.description for violation in found))
        return [violation.field for violation in found]

    def assert_violates(self, message, field):
        fields = self.violations(message)
        self.assertEqual(len(fields), 1, fields)
        self.assertTrue(fields[0].startswith(field), fields)

    def image_refused(self, image, reason):
        return self.assert_refused(
            lambda: ask(self.chat, request("Hi", image=image)), Code.INVALID_ARGUMENT, reason
        )

    def test_role_order(self):
        for roles in (
            ("assistant",),
            ("system",),
            ("user", "user"),
            ("user", "assistant"),
            ("user", "system", "user"),
            ("system", "assistant", "user"),
        ):
            with self.subTest(roles=roles):
                fields = self.violations(request(*["x"] * len(roles), roles=roles))
                self.assertTrue(all(field.startswith("messages") for field in fields), fields)

    def test_a_second_picture(self):
        message = request("one", "two", "three", image=pictures.plain())
        message.messages[2].parts.add(image=pictures.plain())
        self.assert_violates(message, "messages[2].parts[1]")

    def test_a_picture_of_the_assistant(self):
        message = request("one", "two", "three")
        message.messages[1].parts.add(image=pictures.plain())
        self.assert_violates(message, "messages[1].parts[1]")

    def test_empty_messages(self):
        self.assert_violates(request(), "messages")
        message = request("Hi")
        message.messages[0].ClearField("parts")
        self.assert_violates(message, "messages[0]")
        self.assert_violates(request(""), "messages[0].parts[0]")
        message = request("Hi")
        message.messages[0].parts.add()
        self.assert_violates(message, "messages[0].parts[1]")

    def test_numbers_out_of_range_and_not_numbers(self):
        nan, infinity = math.nan, math.inf
        cases = {
            "max_tokens": (0, -1),
            "temperature": (-0.1, 0.001, 10.5, nan, infinity, -infinity),
            "top_p": (0, -1, 1.01, nan, infinity),
            "top_k": (-1,),
            "repetition_penalty": (0, 0.05, 11, -1, nan, infinity),
            "logprobs": (-1, 21),
            "stop": ([""], ["x"] * 17, ["x" * 257]),
        }
        for field, values in cases.items():
            for value in values:
                with self.subTest(field=field, value=value):
                    self.assert_violates(request("Hi", **{field: value}), f"generation.{field}")

    def test_request_ids(self):
        for name in ("a b", "x" * 129, "é", "a\nb"):
            with self.subTest(name=name):
                self.assert_violates(request("Hi", request_id=name), "request_id")

    def test_all_violations_come_at_once(self):
        message = request(
            "one", "", "three", roles=("user", "assistant", "assistant"), image=pictures.plain()
        )
        message.messages[2].parts.add(image=pictures.plain())
        message.request_id = "not allowed"
        message.generation.temperature = math.nan
        message.generation.top_p = 2
        message.generation.top_k = -3
        message.generation.logprobs = 99
        fields = self.violations(message)
        for expected in (
            "request_id",
            "messages[1].parts[0]",
            "messages[2].role",
            "messages[2].parts[1]",
            "generation.temperature",
            "generation.top_p",
            "generation.top_k",
            "generation.logprobs",
        ):
            self.assertTrue(any(field.startswith(expected) for field in fields), (expected, fields))

    def test_a_request_that_is_wrong_everywhere(self):
        # The details still fit into the trailers that a client takes.
        turns = self.violations(request(*["x"] * 1024, roles=["user"] * 1024))
        parts = request("Hi")
        parts.messages[0].parts.extend(chat_pb2.Part() for _ in range(10000))
        for fields in (turns, self.violations(parts)):
            self.assertGreater(len(fields), 10)

    def send_bytes(self, wire):
        call = self.server.channel.unary_stream(
            "/glimpse.v1.ChatService/Chat",
            request_serializer=bytes,
            response_deserializer=chat_pb2.ChatResponse.FromString,
        )
        return list(call(wire, timeout=CALL_SECONDS))

    def test_text_that_is_not_utf8(self):
        for bad in (b"\xff\xfeab", b"\xc3\x28ab", b"\xed\xa0\x80a", b"\xc0\xafab", b"abc\xe4"):
            with self.subTest(bad=bad):
                wire = request("WXYZ").SerializeToString().replace(b"WXYZ", bad)
                details = self.assert_refused(
                    lambda: self.send_bytes(wire), Code.INVALID_ARGUMENT, "INVALID_FIELD"
                )
                fields = [entry.field for entry in details["BadRequest"].field_violations]
                self.assertEqual(fields, ["messages[0].parts[0].text"])

    def test_stop_strings_and_ids_that_are_not_utf8(self):
        for message, field in (
            (request("Hi", stop=["WXYZ"]), "generation.stop[0]"),
            (request("Hi", request_id="WXYZ"), "request_id"),
        ):
            wire = message.SerializeToString().replace(b"WXYZ", b"\xff\xfeab")
            details = self.assert_refused(
                lambda: self.send_bytes(wire), Code.INVALID_ARGUMENT, "INVALID_FIELD"
            )
            fields = [entry.field for entry in details["BadRequest"].field_violations]
            self.assertEqual(fields, [field])

    def test_bytes_that_are_no_request(self):
        for wire in (b"\xff" * 50, b"\x12\x7f", b"\x0a\xff\xff\xff\xff\x0f"):
            with self.subTest(wire=wire):
                self.assert_refused(
                    lambda: self.send_bytes(wire), Code.INVALID_ARGUMENT, "INVALID_FIELD"
                )

    def test_pictures_over_a_limit(self):
        cases = {
            "1000000": pictures.noise("PNG", (700, 700)),  # bytes
            "3000000": pictures.plain("PNG", (1800, 1800)),  # pixels
            "2500": pictures.plain("JPEG", (2501, 8)),  # a side
        }
        for limit, image in cases.items():
            with self.subTest(limit=limit):
                details = self.image_refused(image, "IMAGE_TOO_LARGE")
                self.assertIn(limit, details["ErrorInfo"].metadata.values())

    def test_a_picture_that_claims_to_be_huge(self):
        self.image_refused(pictures.png_that_claims(60000, 60000), "IMAGE_TOO_LARGE")
        self.image_refused(pictures.png_that_claims(1, 2**31 - 1), "IMAGE_TOO_LARGE")

    def test_files_that_are_no_jpeg_png_or_webp(self):
        files = [pictures.plain(kind) for kind in ("GIF", "BMP", "PPM", "TIFF")]
        for image in files + [b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", bytes(100)]:
            with self.subTest(start=image[:8]):
                self.image_refused(image, "IMAGE_UNSUPPORTED")

    def test_cut_and_broken_pictures(self):
        for kind in ("JPEG", "PNG", "WEBP"):
            with self.subTest(kind=kind):
                self.image_refused(pictures.cut(kind), "IMAGE_CORRUPT")
        self.image_refused(pictures.png_that_claims(100, 100), "IMAGE_CORRUPT")

    def test_a_prompt_over_the_context(self):
        context = self.limits.max_context_tokens
        details = self.assert_refused(
            lambda: ask(self.chat, request("7 " * context)),
            Code.INVALID_ARGUMENT,
            "CONTEXT_TOO_LONG",
        )
        metadata = details["ErrorInfo"].metadata
        self.assertEqual(metadata["max_context_tokens"], str(context))
        self.assertGreater(int(metadata["prompt_tokens"]), context)

    def test_prompt_and_max_tokens_over_the_context(self):
        context = self.limits.max_context_tokens
        prompt = ask(self.chat, request("Hi", max_tokens=1)).started.prompt_tokens
        details = self.assert_refused(
            lambda: ask(self.chat, request("Hi", max_tokens=context - prompt + 1)),
            Code.INVALID_ARGUMENT,
            "CONTEXT_TOO_LONG",
        )
        self.assertEqual(details["ErrorInfo"].metadata["prompt_tokens"], str(prompt))
        last = request("Hi", max_tokens=context - prompt, ignore_eos=True)
        self.assertEqual(
            ask(self.chat, last).finished.usage.completion_tokens, context - prompt
        )

    def test_a_message_over_the_receive_limit(self):
        wire = request("x" * self.limits.max_message_bytes).SerializeToString()
        with self.assertRaises(grpc.RpcError) as caught:
            self.send_bytes(wire)
        self.assertEqual(caught.exception.code(), Code.RESOURCE_EXHAUSTED)

    def test_an_unknown_method(self):
        call = self.server.channel.unary_unary("/glimpse.v1.ChatService/Nope")
        with self.assertRaises(grpc.RpcError) as caught:
            call(b"", timeout=CALL_SECONDS)
        self.assertEqual(caught.exception.code(), Code.UNIMPLEMENTED)


if __name__ == "__main__":
    unittest.main(verbosity=2)
