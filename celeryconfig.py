"""Every Celery setting, one reason each; Celery is configured nowhere else.

`postroom.app` loads this file by its path. It must not be importable as `celeryconfig` from an installed package:
Celery takes a module of that name for the configuration of any app that has none of its own.
"""

from kombu import Exchange, Queue

from postroom.names import Lane
from postroom.settings import Settings

_settings = Settings.from_environment()
_outcomes_seconds = int(_settings.keep_outcomes_days * 24 * 3600)
#: A call that Redis has not answered for so long (seconds) has failed.
_silence = 5.0
#: The same for opening a connection.
_connect = 2.0
#: A scheme of `rediss://` means TLS, and Celery wants to be told to check the certificate.
_tls = {"ssl_cert_reqs": "required"} if _settings.redis_url.startswith("rediss://") else None

# --- Where ---------------------------------------------------------------------------------------------------------

#: Messages and ledger live in one Redis, so that one script can change both.
broker_url = _settings.redis_url
#: Chords count their parts there too.
result_backend = _settings.redis_url
#: Check the server's certificate.
broker_use_ssl = _tls
redis_backend_use_ssl = _tls
#: The tasks. A worker imports them when it starts, a producer never.
imports = ("worker.tasks",)

# --- Queues --------------------------------------------------------------------------------------------------------

#: One per lane, the urgent one first: a worker looks in this order.
task_queues = [Queue(lane.value, Exchange(lane.value), lane.value) for lane in (Lane.TRANSACTIONAL, Lane.BULK)]
#: What was sent without naming a lane must not stand before urgent mail.
task_default_queue = Lane.BULK.value
#: A misspelt lane is an error, not a new queue that nobody reads.
task_create_missing_queues = False

# --- Messages ------------------------------------------------------------------------------------------------------

#: Text that anybody can read, and nothing that can run code.
accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"
#: One clock for all machines.
timezone = "UTC"
enable_utc = True
#: Most messages are pushed by a script, which sends no such event; half of them would mislead.
task_send_sent_event = False

# --- Taking messages -----------------------------------------------------------------------------------------------

#: A message only says that there is work. The ledger knows what is left to do, so a lost one needs no second delivery.
task_acks_late = False
#: Only as many messages as there are free threads, so that an urgent one waits for no reserve to be worked off.
worker_disable_prefetch = True
worker_prefetch_multiplier = 1
#: Threads, as many as the settings say. Processes would fail a chord's part when one of them is killed.
worker_pool = "worker.pool:TaskPool"
worker_concurrency = _settings.threads
#: The number of free threads limits a worker; the reduced prefetch after a reconnect would leave threads idle.
worker_enable_prefetch_count_reduction = False
#: Tasks acknowledge early, so none is cancelled when the connection is lost; this also silences Celery's warning.
worker_cancel_long_running_tasks_on_connection_loss = True
#: No task has a rate limit of Celery's; pace is the ledger's business.
worker_disable_rate_limits = True

# --- Losing Redis and finding it again -----------------------------------------------------------------------------

broker_transport_options = {
    # No list of messages that were taken (`unacked`). With one, a restart of Redis ends a busy worker:
    # "AttributeError: 'NoneType' object has no attribute 'hostname'".
    "ack_emulation": False,
    # The order of `task_queues`; the default takes turns.
    "queue_order_strategy": "priority",
    # A lane is one Redis list, not one for each of Celery's priorities.
    "priority_steps": [0],
    # Below the number of threads a worker can wedge.
    "max_connections": _settings.threads + 8,
    # A Redis that does not answer must not hold a thread for ever.
    "socket_timeout": _silence,
    "socket_connect_timeout": _connect,
    "socket_keepalive": True,
    # The blocking pop has no socket timeout; looked at so often (seconds), a silent one is given up after 11 to 21.
    "health_check_interval": 10,
}
#: As many connections for publishing as threads that may publish at once.
broker_pool_limit = _settings.threads
#: An outage of Redis, however long, is waited out; also at the start.
broker_connection_retry = True
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
#: Comes back within a second of Redis; the stock one waits up to 30 s between two tries.
worker_consumer = "worker.consumer:Consumer"
#: For the result backend, the same limits as above.
redis_socket_timeout = _silence
redis_socket_connect_timeout = _connect
redis_socket_keepalive = True
redis_backend_health_check_interval = 10

# --- Results -------------------------------------------------------------------------------------------------------

#: The ledger keeps the outcomes. (The report of a batch is the exception, and says so.)
task_ignore_result = True
#: Errors may quote addresses, so they stay in the ledger.
task_store_errors_even_if_ignored = False
#: As long as outcomes in the ledger.
result_expires = _outcomes_seconds
#: A batch may wait for retries for days, and the count of its finished chunks must outlive that.
result_chord_expires = _outcomes_seconds

# --- Being watched -------------------------------------------------------------------------------------------------

#: Flower shows tasks only when workers send events.
worker_send_task_events = True
#: A log handler that the operator has put on the root logger stays.
worker_hijack_root_logger = False
#: What prints, prints.
worker_redirect_stdouts = False
