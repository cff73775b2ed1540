BEGIN TRANSACTION;
CREATE TABLE calls (
	number INTEGER NOT NULL, 
	run_id VARCHAR(120) NOT NULL, 
	"key" VARCHAR(400) NOT NULL, 
	sample INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	role TEXT NOT NULL, 
	prompt TEXT NOT NULL, 
	request VARCHAR(400) NOT NULL, 
	images JSON NOT NULL, 
	model TEXT NOT NULL, 
	answer JSON, 
	error TEXT, 
	replayed BOOLEAN NOT NULL, 
	turns INTEGER NOT NULL, 
	tokens_in INTEGER NOT NULL, 
	tokens_out INTEGER NOT NULL, 
	usd FLOAT, 
	retries INTEGER NOT NULL, 
	seconds FLOAT, 
	at FLOAT, 
	PRIMARY KEY (number), 
	CONSTRAINT calls_key UNIQUE (run_id, "key", sample, attempt, request)
);
INSERT INTO "calls" VALUES(1,'a','key',0,0,'role','prompt','request','[]','model','{"task": "x"}',NULL,0,0,0,0,NULL,0,0.0,0.0);
CREATE TABLE episodes (
	number INTEGER NOT NULL, 
	run_id VARCHAR(120) NOT NULL, 
	id VARCHAR(400) NOT NULL, 
	step VARCHAR(400), 
	shard TEXT NOT NULL, 
	place INTEGER NOT NULL, 
	steps INTEGER NOT NULL, 
	segments JSON NOT NULL, 
	actor TEXT NOT NULL, 
	world TEXT NOT NULL, 
	seed BIGINT NOT NULL, 
	start TEXT NOT NULL, 
	ended TEXT NOT NULL, 
	info JSON NOT NULL, 
	PRIMARY KEY (number), 
	CONSTRAINT episodes_key UNIQUE (run_id, id)
);
INSERT INTO "episodes" VALUES(1,'a','e1','a','a.safetensors',0,3,'[[0, "reach red", "h1"]]','teacher','w',4611686018427387904,'default','time','{}');
CREATE TABLE evaluations (
	number INTEGER NOT NULL, 
	run_id VARCHAR(120) NOT NULL, 
	stage VARCHAR(400) NOT NULL, 
	"update" INTEGER NOT NULL, 
	caption VARCHAR(400) NOT NULL, 
	step VARCHAR(400), 
	skill TEXT NOT NULL, 
	n INTEGER NOT NULL, 
	successes INTEGER NOT NULL, 
	successes_once INTEGER NOT NULL, 
	PRIMARY KEY (number), 
	CONSTRAINT evaluations_key UNIQUE (run_id, stage, "update", caption)
);
INSERT INTO "evaluations" VALUES(1,'a','before',7,'reach red',NULL,'h1',8,3,5);
INSERT INTO "evaluations" VALUES(2,'a','before',7,'grasp red',NULL,'h2',8,0,1);
CREATE TABLE heartbeats (
	run_id VARCHAR(120) NOT NULL, 
	pid INTEGER NOT NULL, 
	host TEXT NOT NULL, 
	at FLOAT, 
	PRIMARY KEY (run_id)
);
INSERT INTO "heartbeats" VALUES('a',7319,'vm',1.79578591093180727953e+09);
CREATE TABLE messages (
	number INTEGER NOT NULL, 
	run_id VARCHAR(120) NOT NULL, 
	"key" VARCHAR(400) NOT NULL, 
	step VARCHAR(400), 
	sender TEXT NOT NULL, 
	addressee TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	text TEXT NOT NULL, 
	images JSON NOT NULL, 
	payload JSON NOT NULL, 
	at FLOAT, 
	PRIMARY KEY (number), 
	CONSTRAINT messages_key UNIQUE (run_id, "key")
);
INSERT INTO "messages" VALUES(1,'a','m1',NULL,'loop','all','note','hello','["images/a.png"]','{"x": [1, 2.5], "y": null}',1.79578591070499896998e+09);
INSERT INTO "messages" VALUES(2,'a','m2',NULL,'loop','all','note','hello','["images/a.png"]','{"x": [1, 2.5], "y": null}',1.79578591070500636099e+09);
INSERT INTO "messages" VALUES(3,'a','live','a','loop','all','note','hello','["images/a.png"]','{"x": [1, 2.5], "y": null}',1.79578591085436439517e+09);
CREATE TABLE metrics (
	number INTEGER NOT NULL, 
	run_id VARCHAR(120) NOT NULL, 
	name VARCHAR(400) NOT NULL, 
	"update" INTEGER NOT NULL, 
	step VARCHAR(400), 
	value FLOAT, 
	PRIMARY KEY (number), 
	CONSTRAINT metrics_key UNIQUE (run_id, name, "update")
);
INSERT INTO "metrics" VALUES(1,'a','loss/critic',1,NULL,0.5);
INSERT INTO "metrics" VALUES(2,'a','loss/actor',1,NULL,NULL);
INSERT INTO "metrics" VALUES(3,'a','time/fit',1,NULL,1.5);
CREATE TABLE outcomes (
	number INTEGER NOT NULL, 
	run_id VARCHAR(120) NOT NULL, 
	episode VARCHAR(400) NOT NULL, 
	segment INTEGER NOT NULL, 
	skill VARCHAR(400) NOT NULL, 
	step VARCHAR(400), 
	caption TEXT NOT NULL, 
	success_at_end BOOLEAN NOT NULL, 
	success_once BOOLEAN NOT NULL, 
	reward FLOAT, 
	PRIMARY KEY (number), 
	CONSTRAINT outcomes_key UNIQUE (run_id, episode, segment, skill)
);
INSERT INTO "outcomes" VALUES(1,'a','e1',0,'hash of reach red','a','reach red',1,1,0.5);
INSERT INTO "outcomes" VALUES(2,'a','e1',1,'hash of reach red','a','reach red',0,1,0.5);
CREATE TABLE plans (
	number INTEGER NOT NULL, 
	run_id VARCHAR(120) NOT NULL, 
	round INTEGER NOT NULL, 
	id VARCHAR(400) NOT NULL, 
	step VARCHAR(400), 
	task TEXT NOT NULL, 
	why TEXT NOT NULL, 
	success_probability FLOAT, 
	goal TEXT, 
	steps JSON NOT NULL, 
	retrievals JSON NOT NULL, 
	PRIMARY KEY (number), 
	CONSTRAINT plans_key UNIQUE (run_id, round, id)
);
INSERT INTO "plans" VALUES(1,'a',1,'p1',NULL,'a tower','it is new',0.25,'on(red, green)','["first", "then"]','[{"caption": "reach red", "missing": null, "options": [], "step": "first"}, {"caption": null, "missing": "turn red over", "options": [], "step": "then"}]');
CREATE TABLE runs (
	run_id VARCHAR(120) NOT NULL, 
	schema INTEGER NOT NULL, 
	directory TEXT NOT NULL, 
	config JSON NOT NULL, 
	seed BIGINT NOT NULL, 
	command TEXT NOT NULL, 
	versions JSON NOT NULL, 
	created FLOAT, 
	PRIMARY KEY (run_id)
);
INSERT INTO "runs" VALUES('a',2,'/runs/b','{"agent": {"acting_ema": 0.001, "action_bins": 31, "action_samples": 4, "alpha": 0.3, "batch_size": 32, "beta": 1.0, "blocks": 0, "eta": 2.0, "gamma": 0.0, "grad_clip": 1.0, "heads": 0, "horizon_s": 1.25, "latents": 0, "learning_rate": 0.0007, "n_step": 0, "n_step_s": 0.4, "name": "pac", "network": "perceiver", "options": {}, "size": "xs", "target_ema": 0.005, "value_atoms": 51, "weight_decay": 0.0001, "width": 16}, "budget": {"calls": 0, "minutes": 0, "tokens": 0, "usd": 0}, "experiment": {"episodes_per_round": 8, "exploration": 0.0, "fill": true, "final_episodes": 2, "max_practising": 1, "plans_per_round": 2, "practice_exploration": 0.1, "practice_ratio": 0.75, "practice_rounds": 6, "practice_temperature": 0.6, "rehearsal": 0.15, "rounds": 2, "stop_after": 1, "switching": "fixed", "temperature": 0.5}, "experimenter": {"affordance": 0.0, "analyse": "planner", "answer_s": 0, "decompose": "planner", "exemplars": 3, "facts": true, "images": true, "max_concurrency": 16, "max_tokens": 1500, "one_call": false, "prefetch": 1, "price_in": -1, "price_out": -1, "propose": "planner", "retries": 5, "retrieve": "planner", "samples": 1, "spans": false, "structure": "auto", "temperature": 0.7, "timeout_s": 60, "write_skill": "planner"}, "oversight": {"approve_skills": false, "ask": false, "default": "reject", "forbid": "", "timeout_s": 600}, "sampling": {"balance": 0.0, "balance_hindsight": 0.0, "bc_labels": "commanded", "commanded_ratio": 0.6, "focus": 0.5, "hindsight_ratio": 0.3, "horizon": 40, "memory": "ram", "only_successes": false, "sparse": 0.4}, "seed": 0, "seed_data": {"actor": "auto", "clean_share": 0.1, "episodes": 16, "max_noise": 0.6, "min_noise": 0.0, "random_share": 0.08, "segments": 2}, "training": {"device": "cpu", "early_stop": true, "evaluate_every": 10, "evaluation_episodes": 1, "evaluation_temperature": 0.33, "microbatches": 2, "minutes": 0.0, "precision": "float32", "processes": 1, "round_updates": 20, "sharded": false, "threads": 1, "updates": 30}, "world": {"n_blocks": 2, "n_envs": 16, "name": "blocks", "options": {}, "threads": 0, "variant": "single", "version": ""}}',0,'ludus run','{"gymnasium": "1.4.0", "ludus": "0.1.0", "mujoco": "4.0.0", "numpy": "2.4.6", "python": "3.11.7", "safetensors": "0.8.0", "sqlalchemy": "2.1.9", "torch": "2.13.0+cpu"}',1.7957859105584568978e+09);
CREATE TABLE shards (
	number INTEGER NOT NULL, 
	run_id VARCHAR(120) NOT NULL, 
	name VARCHAR(400) NOT NULL, 
	step VARCHAR(400), 
	episodes INTEGER NOT NULL, 
	transitions INTEGER NOT NULL, 
	checksum TEXT NOT NULL, 
	PRIMARY KEY (number), 
	CONSTRAINT shards_key UNIQUE (run_id, name)
);
INSERT INTO "shards" VALUES(1,'a','a.safetensors','a',1,3,'c');
CREATE TABLE skill_changes (
	number INTEGER NOT NULL, 
	run_id VARCHAR(120) NOT NULL, 
	caption VARCHAR(400) NOT NULL, 
	round INTEGER NOT NULL, 
	status VARCHAR(40) NOT NULL, 
	step VARCHAR(400), 
	PRIMARY KEY (number), 
	CONSTRAINT skill_changes_key UNIQUE (run_id, caption, round, status)
);
INSERT INTO "skill_changes" VALUES(1,'a','reach red',3,'base',NULL);
INSERT INTO "skill_changes" VALUES(2,'a','reach red',4,'dropped','a');
CREATE TABLE skills (
	number INTEGER NOT NULL, 
	run_id VARCHAR(120) NOT NULL, 
	hash VARCHAR(400) NOT NULL, 
	step VARCHAR(400), 
	round INTEGER NOT NULL, 
	caption TEXT NOT NULL, 
	reward TEXT NOT NULL, 
	success TEXT NOT NULL, 
	steps INTEGER NOT NULL, 
	base BOOLEAN NOT NULL, 
	author TEXT NOT NULL, 
	parents JSON NOT NULL, 
	PRIMARY KEY (number), 
	CONSTRAINT skills_key UNIQUE (run_id, hash)
);
INSERT INTO "skills" VALUES(1,'a','h1',NULL,3,'reach red','near(red)','at(red)',80,1,'base','[]');
CREATE TABLE stages (
	number INTEGER NOT NULL, 
	run_id VARCHAR(120) NOT NULL, 
	name VARCHAR(400) NOT NULL, 
	done INTEGER NOT NULL, 
	total INTEGER NOT NULL, 
	started FLOAT, 
	updated FLOAT, 
	finished FLOAT, 
	PRIMARY KEY (number), 
	CONSTRAINT stages_key UNIQUE (run_id, name)
);
CREATE TABLE steps (
	number INTEGER NOT NULL, 
	run_id VARCHAR(120) NOT NULL, 
	name VARCHAR(400) NOT NULL, 
	result JSON NOT NULL, 
	started FLOAT, 
	seconds FLOAT, 
	PRIMARY KEY (number), 
	CONSTRAINT steps_key UNIQUE (run_id, name)
);
INSERT INTO "steps" VALUES(1,'a','a','{}',1.79578591083755636213e+09,4.49319229956017807126e-02);
CREATE TABLE verdicts (
	number INTEGER NOT NULL, 
	run_id VARCHAR(120) NOT NULL, 
	round INTEGER NOT NULL, 
	"update" INTEGER NOT NULL, 
	caption VARCHAR(400) NOT NULL, 
	step VARCHAR(400), 
	judgement TEXT NOT NULL, 
	probability FLOAT, 
	why TEXT NOT NULL, 
	PRIMARY KEY (number), 
	CONSTRAINT verdicts_key UNIQUE (run_id, round, "update", caption)
);
INSERT INTO "verdicts" VALUES(1,'a',1,800,'reach red',NULL,'converged',0.9,'flat');
CREATE INDEX messages_step ON messages (run_id, step);
CREATE INDEX messages_kind ON messages (run_id, kind, number);
CREATE INDEX messages_number ON messages (run_id, number);
CREATE INDEX shards_step ON shards (run_id, step);
CREATE INDEX episodes_step ON episodes (run_id, step);
CREATE INDEX episodes_number ON episodes (run_id, number);
CREATE INDEX skills_step ON skills (run_id, step);
CREATE INDEX skill_changes_step ON skill_changes (run_id, step);
CREATE INDEX outcomes_step ON outcomes (run_id, step);
CREATE INDEX metrics_step ON metrics (run_id, step);
CREATE INDEX evaluations_step ON evaluations (run_id, step);
CREATE INDEX plans_step ON plans (run_id, step);
CREATE INDEX verdicts_step ON verdicts (run_id, step);
COMMIT;
