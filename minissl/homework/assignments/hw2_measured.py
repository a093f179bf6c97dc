experiment = None
