"""The base of the tests that expect an error status."""

import unittest

import grpc
import harness


class StatusTestCase(unittest.TestCase):
    def assert_refused(self, call, code, reason):
        """Runs the call; returns the details of its status."""
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        return self.assert_error(caught.exception, code, reason)

    def assert_error(self, error, code, reason):
        self.assertEqual(error.code(), code, error.details())
        details = harness.details_of(error)
        self.assertIn("ErrorInfo", details, error.details())
        self.assertEqual(details["ErrorInfo"].reason, reason)
        self.assertEqual(details["ErrorInfo"].domain, "glimpse")
        self.assertNotIn("/", error.details())  # no path, no address
        return details

    def started_stream(self, server, message, events=2):
        """A call that has brought its first events, hence holds a slot."""
        stream = server.chat.Chat(message, timeout=harness.CALL_SECONDS)
        return stream, [next(stream) for _ in range(events)]
