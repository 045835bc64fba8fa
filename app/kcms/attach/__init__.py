"""How somebody is attached to a job: what goes over the wire between ``kcms run`` and the job."""
