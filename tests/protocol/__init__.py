"""Protocol: what Postroom's ledger, workers and caretakers do, small enough for every course of events to be tried.

`explore` starts from a scene (a mail or two, some workers, and so many things that may go wrong) and goes on from each
state to whatever may happen next, until there are no new states. In each the promise is checked; and from each the
fleet, left alone, must be able to finish every mail.

- `ledger.py` is `postroom/lua`, function by function, under the same names.
- `world.py` is everybody else: workers, SendGrid, the network, and time; `steps.py` is what may happen next.
- `rules.py` lists the rules of the protocol. Each can be left out, and then something must break.
- `breaks.py` tells of each what, and where.
- `promise.py` is what must hold; `scenes.py` is where; `exploration.py` finds the shortest way to where it does not.
- `walk.py` has the model and a real Redis walk side by side.

Time is no number here. What takes time may happen at any moment, but in an order that the durations allow: a grace is
at least a request's deadline, an owner's life and 5 s, so when it ends, the window that left the doubt can start no
request any more, and those that it had started are over.

Wake-ups are counted in some scenes, to see that a lost one does no harm; in the others a task may begin at any time.
How few of them there are is a matter of time, which the model does not tell.

Left out, for they change the state of no mail in a way of their own: payloads, keys, the sealing of a batch and the
pages of its wake-ups, send times, pauses of the account (a claim that must wait is a claim that comes later), and the
chord (a report that its body records is a report recorded at any time).
"""
