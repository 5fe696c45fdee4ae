"""One spelling for what files write in many ways."""
