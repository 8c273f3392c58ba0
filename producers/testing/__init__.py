"""For tests of programs that send mail: a pytest plugin, there as soon as Postroom is installed.

    pip install 'postroom[testing]'

    def test_a_new_user_is_welcomed(client, outbox):
        client.post("/welcome", data={"address": "ann@example.com"})
        outbox.assert_enqueued(to="ann@example.com", subject="Welcome")

Nothing is imitated: the client is the real one, and its mail goes into a real Redis of the test session. pytest loads
this package at each start, so nothing here loads Celery or Redis before a fixture is used.
"""
