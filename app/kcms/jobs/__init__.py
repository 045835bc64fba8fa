"""The job plane's pure core: what a job is, its states, its queue and its placement."""
