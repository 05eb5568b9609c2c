"""Events: what users are notified of, and the queues that deliver it in order.

Events are notifications, the store is the truth. Pure: no threads, no clocks.
"""
