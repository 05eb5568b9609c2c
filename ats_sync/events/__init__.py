"""Events: what users are notified of, and the queues that bring it in order.

Events are notices, the store is the truth. Pure: no threads, no clocks.
"""
