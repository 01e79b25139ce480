"""Who is let in, when, and for how long: fair queues, rates, priorities, deadlines."""
