"""What goes into the store and comes out of it: frozen values without sqlalchemy, so pages may import them freely.

reports      reports of wrong verdicts, and how much is stored
reasons      why a sample is in the queue
review       items, claims, labels, events and figures of human review
"""
