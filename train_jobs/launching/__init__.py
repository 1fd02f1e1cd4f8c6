"""Jobs as processes: started one a device, followed, ended, and said in words when they fail."""
