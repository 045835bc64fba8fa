BEGIN TRANSACTION;
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, job INTEGER NOT NULL,
  kind TEXT NOT NULL, document TEXT NOT NULL
);
INSERT INTO "events" VALUES(1,1001.0,1,'submit','{"state": "PENDING"}');
INSERT INTO "events" VALUES(2,1002.0,2,'submit','{"state": "PENDING"}');
INSERT INTO "events" VALUES(3,1003.0,3,'submit','{"state": "PENDING"}');
INSERT INTO "events" VALUES(4,1003.5,2,'start','{"state": "RUNNING", "node": "alpha1"}');
INSERT INTO "events" VALUES(5,1012.5,3,'end','{"state": "FAILED", "node": "alpha2"}');
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY, user TEXT NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
  state TEXT NOT NULL, reason TEXT NOT NULL, priority INTEGER NOT NULL,
  submit_host TEXT NOT NULL, submit_time REAL NOT NULL, start_time REAL, end_time REAL,
  key TEXT, killed_by TEXT, spec TEXT NOT NULL, UNIQUE (user, key)
);
INSERT INTO "jobs" VALUES(1,'alice',2001,2001,'PENDING','every slot is taken',0,'alpha1',1001.0,NULL,NULL,'k',NULL,'{"name": "x", "class": "single", "executable": "/shared/x", "arguments": [], "base_directory": null, "input": null, "output": null, "error": null, "priority": 0, "environment": {"A": "\u00e4"}}');
INSERT INTO "jobs" VALUES(2,'alice',2001,2001,'RUNNING','',0,'alpha1',1002.0,1003.5,NULL,NULL,'root','{"name": "x", "class": "single", "executable": "/shared/x", "arguments": [], "base_directory": null, "input": null, "output": null, "error": null, "priority": 0, "environment": {"A": "\u00e4"}}');
INSERT INTO "jobs" VALUES(3,'alice',2001,2001,'FAILED','ended by signal 9',0,'alpha1',1003.0,1003.5,1012.5,NULL,NULL,'{"name": "x", "class": "single", "executable": "/shared/x", "arguments": [], "base_directory": null, "input": null, "output": null, "error": null, "priority": 0, "environment": {"A": "\u00e4"}}');
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO "meta" VALUES('cluster','alpha');
INSERT INTO "meta" VALUES('store','1532b1a5');
CREATE TABLE tasks (
  job INTEGER NOT NULL REFERENCES jobs (id), task INTEGER NOT NULL, epoch INTEGER NOT NULL,
  node TEXT NOT NULL, state TEXT NOT NULL, start_time REAL, message TEXT NOT NULL, exit TEXT,
  PRIMARY KEY (job, task)
) WITHOUT ROWID;
INSERT INTO "tasks" VALUES(2,0,1,'alpha1','RUNNING',1003.5,'',NULL);
INSERT INTO "tasks" VALUES(3,0,1,'alpha2','FAILED',1003.5,'','{"code": null, "signal": 9, "time": 1012.5, "processes_killed": 3, "processes_left": 0, "usage": {"cpu_seconds": 1.5}}');
CREATE INDEX jobs_state ON jobs (state);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',5);
COMMIT;
PRAGMA user_version = 1;
