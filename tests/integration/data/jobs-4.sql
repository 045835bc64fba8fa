BEGIN TRANSACTION;
CREATE TABLE drained (
  node TEXT PRIMARY KEY, reason TEXT NOT NULL, by TEXT NOT NULL, time REAL NOT NULL
) WITHOUT ROWID;
INSERT INTO "drained" VALUES('alpha2','its prologue failed','the node',1033.0);
INSERT INTO "drained" VALUES('alpha3','new disk','root',1008.0);
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, job INTEGER NOT NULL,
  kind TEXT NOT NULL, document TEXT NOT NULL
);
INSERT INTO "events" VALUES(1,1001.0,1,'submit','{"state": "PENDING"}');
INSERT INTO "events" VALUES(2,1002.0,2,'submit','{"state": "PENDING"}');
INSERT INTO "events" VALUES(3,1003.0,3,'submit','{"state": "PENDING"}');
INSERT INTO "events" VALUES(4,1004.0,4,'submit','{"state": "PENDING"}');
INSERT INTO "events" VALUES(5,1005.0,5,'submit','{"state": "PENDING"}');
INSERT INTO "events" VALUES(6,1006.0,6,'submit','{"state": "PENDING"}');
INSERT INTO "events" VALUES(7,1007.0,7,'submit','{"state": "PENDING"}');
INSERT INTO "events" VALUES(8,1008.0,8,'submit','{"state": "PENDING"}');
INSERT INTO "events" VALUES(9,1001.0,1,'wait','{"state": "PENDING"}');
INSERT INTO "events" VALUES(10,1002.0,2,'migrate','{"state": "RUNNING", "number": 3}');
INSERT INTO "events" VALUES(11,1003.0,3,'end','{"state": "FAILED", "node": "alpha2"}');
INSERT INTO "events" VALUES(12,1004.0,4,'end','{"state": "COMPLETED", "node": "alpha2"}');
INSERT INTO "events" VALUES(13,1005.0,5,'kill','{"state": "RUNNING", "by": "root"}');
INSERT INTO "events" VALUES(14,1006.0,6,'kill','{"state": "CANCELLED", "by": "alice"}');
INSERT INTO "events" VALUES(15,1008.0,0,'drain','{"node": "alpha3", "by": "root", "reason": "new disk"}');
INSERT INTO "events" VALUES(16,1007.0,7,'hold','{"state": "PENDING", "by": "alice"}');
INSERT INTO "events" VALUES(17,1008.0,8,'suspend','{"state": "SUSPENDED", "by": "root"}');
INSERT INTO "events" VALUES(18,1020.0,9,'submit','{"state": "PENDING"}');
INSERT INTO "events" VALUES(19,1030.0,10,'submit','{"state": "PENDING"}');
INSERT INTO "events" VALUES(20,1033.0,0,'drain','{"node": "alpha2", "by": "the node", "reason": "its prologue failed"}');
INSERT INTO "events" VALUES(21,1022.5,9,'migrate','{"state": "RUNNING", "number": 1}');
INSERT INTO "events" VALUES(22,1033.0,10,'end','{"state": "RUNNING", "node": "alpha1"}');
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY, user TEXT NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
  state TEXT NOT NULL, reason TEXT NOT NULL, priority INTEGER NOT NULL,
  submit_host TEXT NOT NULL, submit_time REAL NOT NULL, start_time REAL, end_time REAL,
  key TEXT, killed_by TEXT, spec TEXT NOT NULL, migration TEXT, held_by TEXT, fate TEXT, UNIQUE (user, key)
);
INSERT INTO "jobs" VALUES(1,'alice',2001,2001,'PENDING','every slot is taken',1,'alpha1',1001.0,NULL,NULL,'k',NULL,'{"name": "x", "class": "single", "executable": "/shared/home/alice/x", "arguments": ["a b"], "base_directory": null, "input": null, "output": null, "error": null, "time_limit": null, "memory": null, "rss_limit": null, "dependency": [], "begin_time": null, "hold": false, "priority": 1, "environment": {"A": "\u00e4"}}',NULL,NULL,NULL);
INSERT INTO "jobs" VALUES(2,'alice',2001,2001,'RUNNING','',2,'alpha1',1002.0,1003.5,NULL,NULL,NULL,'{"name": "x", "class": "single", "executable": "/shared/home/alice/x", "arguments": ["a b"], "base_directory": null, "input": null, "output": null, "error": null, "time_limit": null, "memory": null, "rss_limit": null, "dependency": [], "begin_time": null, "hold": false, "priority": 2, "environment": {"A": "\u00e4"}}','{"number": 3, "source": "alpha1", "target": "alpha2", "epoch": 4, "phase": "dumping", "by": "alice", "start_time": 1007.0, "check_only": false, "end_time": null, "message": "", "told": {"check": {"files": ["/lib/\u00e4"]}, "admit": {}}}',NULL,NULL);
INSERT INTO "jobs" VALUES(3,'alice',2001,2001,'FAILED','ended by signal 9',3,'alpha1',1003.0,1003.5,1012.5,NULL,NULL,'{"name": "x", "class": "single", "executable": "/shared/home/alice/x", "arguments": ["a b"], "base_directory": null, "input": null, "output": null, "error": null, "time_limit": null, "memory": null, "rss_limit": null, "dependency": [], "begin_time": null, "hold": false, "priority": 3, "environment": {"A": "\u00e4"}}',NULL,NULL,NULL);
INSERT INTO "jobs" VALUES(4,'alice',2001,2001,'COMPLETED','',4,'alpha1',1004.0,1003.5,1020.0,NULL,NULL,'{"name": "x", "class": "single", "executable": "/shared/home/alice/x", "arguments": ["a b"], "base_directory": null, "input": null, "output": null, "error": null, "time_limit": null, "memory": null, "rss_limit": null, "dependency": [], "begin_time": null, "hold": false, "priority": 4, "environment": {"A": "\u00e4"}}','{"number": 1, "source": "alpha1", "target": "alpha2", "epoch": 2, "phase": "done", "by": "root", "start_time": 1004.0, "check_only": false, "end_time": 1006.0, "message": "", "told": {}}',NULL,NULL);
INSERT INTO "jobs" VALUES(5,'alice',2001,2001,'RUNNING','being killed by root',5,'alpha1',1005.0,1003.5,NULL,NULL,'root','{"name": "x", "class": "single", "executable": "/shared/home/alice/x", "arguments": ["a b"], "base_directory": null, "input": null, "output": null, "error": null, "time_limit": null, "memory": null, "rss_limit": null, "dependency": [], "begin_time": null, "hold": false, "priority": 5, "environment": {"A": "\u00e4"}}',NULL,NULL,NULL);
INSERT INTO "jobs" VALUES(6,'alice',2001,2001,'CANCELLED','killed while it waited',6,'alpha1',1006.0,NULL,1009.0,NULL,'alice','{"name": "x", "class": "single", "executable": "/shared/home/alice/x", "arguments": ["a b"], "base_directory": null, "input": null, "output": null, "error": null, "time_limit": null, "memory": null, "rss_limit": null, "dependency": [], "begin_time": null, "hold": false, "priority": 6, "environment": {"A": "\u00e4"}}',NULL,NULL,NULL);
INSERT INTO "jobs" VALUES(7,'alice',2001,2001,'PENDING','held by alice',7,'alpha1',1007.0,NULL,NULL,NULL,NULL,'{"name": "x", "class": "single", "executable": "/shared/home/alice/x", "arguments": ["a b"], "base_directory": null, "input": null, "output": null, "error": null, "time_limit": 7200, "memory": 512, "rss_limit": null, "dependency": ["afterany:1"], "begin_time": 1800000000, "hold": false, "priority": 7, "environment": {"A": "\u00e4"}}',NULL,'alice',NULL);
INSERT INTO "jobs" VALUES(8,'alice',2001,2001,'SUSPENDED','suspended by root',8,'alpha1',1008.0,1003.5,NULL,NULL,NULL,'{"name": "x", "class": "single", "executable": "/shared/home/alice/x", "arguments": ["a b"], "base_directory": null, "input": null, "output": null, "error": null, "time_limit": null, "memory": null, "rss_limit": null, "dependency": [], "begin_time": null, "hold": false, "priority": 8, "environment": {"A": "\u00e4"}}',NULL,'root',NULL);
INSERT INTO "jobs" VALUES(9,'alice',2001,2001,'RUNNING','',0,'alpha1',1020.0,1021.0,NULL,NULL,NULL,'{"name": "batch", "class": "batch", "executable": "/shared/batch", "argument_count": null, "arguments": [], "base_directory": null, "input": null, "output": null, "error": null, "tasks_per_node": null, "total_tasks": 3, "cpus_per_task": 1, "task_failure": null, "time_limit": null, "memory": null, "rss_limit": null, "dependency": [], "begin_time": null, "hold": false, "priority": 0, "partition": null, "load_metric": "load", "requeue": false, "restart_from_checkpoint": false, "on_end": null, "comment": null, "environment": {}}','{"number": 1, "source": "alpha1", "target": "alpha2", "epoch": 3, "phase": "refused", "by": "root", "start_time": 1022.0, "check_only": false, "end_time": 1022.5, "message": "alpha2: /usr/bin/x differs", "told": {}, "task": 0, "predicted_bytes": 1048576, "predicted_seconds": 0.5, "bytes": null, "freeze_seconds": null}',NULL,NULL);
INSERT INTO "jobs" VALUES(10,'alice',2001,2001,'RUNNING','task 1 failed',0,'alpha1',1030.0,1031.0,NULL,NULL,NULL,'{"name": "mpi", "class": "parallel", "executable": "/shared/mpi", "argument_count": null, "arguments": [], "base_directory": null, "input": null, "output": null, "error": null, "tasks_per_node": null, "total_tasks": 2, "cpus_per_task": 1, "task_failure": null, "time_limit": null, "memory": null, "rss_limit": null, "dependency": [], "begin_time": null, "hold": false, "priority": 0, "partition": null, "load_metric": "load", "requeue": false, "restart_from_checkpoint": false, "on_end": null, "comment": null, "environment": {}}',NULL,NULL,'["FAILED", "task 1 failed"]');
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO "meta" VALUES('cluster','alpha');
INSERT INTO "meta" VALUES('last_job',1100);
INSERT INTO "meta" VALUES('store','1532b1a5');
INSERT INTO "meta" VALUES('unsure','[[2, 0, 1]]');
CREATE TABLE signals (
  job INTEGER NOT NULL REFERENCES jobs (id), task INTEGER NOT NULL, epoch INTEGER NOT NULL,
  number INTEGER NOT NULL, name TEXT NOT NULL, pid INTEGER, birth INTEGER, grace REAL,
  rank INTEGER, key TEXT NOT NULL, done INTEGER NOT NULL,
  PRIMARY KEY (job, task, epoch, number)
) WITHOUT ROWID;
INSERT INTO "signals" VALUES(9,0,2,1,'USR1',NULL,NULL,NULL,NULL,'k1',0);
CREATE TABLE tasks (
  job INTEGER NOT NULL REFERENCES jobs (id), task INTEGER NOT NULL, epoch INTEGER NOT NULL,
  node TEXT NOT NULL, state TEXT NOT NULL, start_time REAL, message TEXT NOT NULL, exit TEXT, first INTEGER, killed_by TEXT, restarts INTEGER NOT NULL DEFAULT 0, lease REAL NOT NULL DEFAULT 0,
  PRIMARY KEY (job, task)
) WITHOUT ROWID;
INSERT INTO "tasks" VALUES(2,0,1,'alpha1','RUNNING',1003.5,'',NULL,NULL,NULL,0,0.0);
INSERT INTO "tasks" VALUES(3,0,1,'alpha2','FAILED',1003.5,'','{"code": null, "signal": 9, "time": 1012.5, "processes_killed": 3, "processes_left": 0, "usage": {"cpu_seconds": 1.5, "max_rss_kib": 900, "source": "wait"}, "cause": "", "detail": ""}',NULL,NULL,0,0.0);
INSERT INTO "tasks" VALUES(4,0,2,'alpha2','COMPLETED',1003.5,'','{"code": 0, "signal": null, "time": 1020.0, "processes_killed": 0, "processes_left": 0, "usage": {"cpu_seconds": 0.5}, "cause": "", "detail": ""}',NULL,NULL,0,0.0);
INSERT INTO "tasks" VALUES(5,0,1,'alpha1','RUNNING',1003.5,'',NULL,NULL,NULL,0,0.0);
INSERT INTO "tasks" VALUES(8,0,1,'alpha1','RUNNING',1003.5,'',NULL,NULL,NULL,0,0.0);
INSERT INTO "tasks" VALUES(9,0,2,'alpha1','RUNNING',1021.0,'',NULL,NULL,NULL,1,180.0);
INSERT INTO "tasks" VALUES(9,1,1,'alpha2','RUNNING',1021.5,'',NULL,NULL,'alice',0,0.0);
INSERT INTO "tasks" VALUES(9,2,1,'alpha2','COMPLETED',1021.5,'','{"code": 0, "signal": null, "time": 1023.0, "processes_killed": 0, "processes_left": 0, "usage": {}, "cause": "", "detail": ""}',NULL,NULL,0,0.0);
INSERT INTO "tasks" VALUES(10,0,1,'alpha1','RUNNING',1031.0,'',NULL,0,NULL,0,0.0);
INSERT INTO "tasks" VALUES(10,1,1,'alpha1','RUNNING',1031.0,'',NULL,0,NULL,0,0.0);
CREATE INDEX jobs_state ON jobs (state);
CREATE INDEX jobs_end ON jobs (end_time) WHERE end_time IS NOT NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',22);
COMMIT;
PRAGMA user_version = 4;
