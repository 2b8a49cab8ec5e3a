"""The complete captured state of a loop at one point, and how it becomes durable."""
