"""The page of the grid: server-rendered, to look at without a login.

``daemon`` serves what ``app`` puts together; one file a page family (grid, cluster, host, legend,
images, api) holds the routes.  What is shown is decided in pure modules beside them: ``view``,
``facts``, ``bands`` and ``words`` for pages; ``ranges``, ``reports`` and ``drawing`` for graphs.
"""
