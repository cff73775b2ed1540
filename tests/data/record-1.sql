-- A run directory's database of record version 1, by ludus 0.1.0.
BEGIN TRANSACTION;
CREATE TABLE calls (
	number INTEGER NOT NULL, 
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
	CONSTRAINT calls_key UNIQUE ("key", sample, attempt, request)
);
INSERT INTO "calls" VALUES(1,'key',0,0,'role','prompt','request','[]','model','{"task": "x"}',NULL,0,0,0,0,NULL,0,0.0,0.0);
CREATE TABLE episodes (
	number INTEGER NOT NULL, 
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
	CONSTRAINT episodes_key UNIQUE (id)
);
INSERT INTO "episodes" VALUES(1,'e1','seed-data/000','seed-data.000.safetensors',0,160,'[[0, "reach red", "h1"], [80, "reach red", "h1"]]','teacher','w',4611686018427387904,'default','time','{}');
CREATE TABLE evaluations (
	number INTEGER NOT NULL, 
	stage VARCHAR(400) NOT NULL, 
	"update" INTEGER NOT NULL, 
	caption VARCHAR(400) NOT NULL, 
	step VARCHAR(400), 
	skill TEXT NOT NULL, 
	n INTEGER NOT NULL, 
	successes INTEGER NOT NULL, 
	ever INTEGER NOT NULL, 
	PRIMARY KEY (number), 
	CONSTRAINT evaluations_key UNIQUE (stage, "update", caption)
);
INSERT INTO "evaluations" VALUES(1,'curve',10,'reach red','pretrain/train/000','h1',4,1,3);
CREATE TABLE messages (
	number INTEGER NOT NULL, 
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
	CONSTRAINT messages_key UNIQUE ("key")
);
INSERT INTO "messages" VALUES(1,'begin/0000','begin','loop','all','note','World ''blocks''','[]','{"x": [1, 2.5]}',1700000000.0);
CREATE TABLE metrics (
	number INTEGER NOT NULL, 
	name VARCHAR(400) NOT NULL, 
	"update" INTEGER NOT NULL, 
	step VARCHAR(400), 
	value FLOAT, 
	PRIMARY KEY (number), 
	CONSTRAINT metrics_key UNIQUE (name, "update")
);
INSERT INTO "metrics" VALUES(1,'loss/critic',10,'pretrain/train/000',0.5);
INSERT INTO "metrics" VALUES(2,'loss/actor',10,'pretrain/train/000',NULL);
INSERT INTO "metrics" VALUES(3,'time/training_s',10,'pretrain/train/000',1.5);
CREATE TABLE outcomes (
	number INTEGER NOT NULL, 
	episode VARCHAR(400) NOT NULL, 
	segment INTEGER NOT NULL, 
	skill VARCHAR(400) NOT NULL, 
	step VARCHAR(400), 
	caption TEXT NOT NULL, 
	success BOOLEAN NOT NULL, 
	ever BOOLEAN NOT NULL, 
	reward FLOAT, 
	PRIMARY KEY (number), 
	CONSTRAINT outcomes_key UNIQUE (episode, segment, skill)
);
INSERT INTO "outcomes" VALUES(1,'e1',0,'h1','seed-data/000','reach red',1,1,0.5);
INSERT INTO "outcomes" VALUES(2,'e1',1,'h1','seed-data/000','reach red',0,1,0.25);
CREATE TABLE plans (
	number INTEGER NOT NULL, 
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
	CONSTRAINT plans_key UNIQUE (round, id)
);
INSERT INTO "plans" VALUES(1,1,'p1','round/1/plan','a tower','new',0.25,'on(red, green)','["first"]','[{"caption": "reach red", "missing": null, "options": [], "step": "first"}]');
CREATE TABLE run (
	schema INTEGER NOT NULL, 
	config JSON NOT NULL, 
	seed BIGINT NOT NULL, 
	command TEXT NOT NULL, 
	versions JSON NOT NULL, 
	created FLOAT, 
	PRIMARY KEY (schema)
);
INSERT INTO "run" VALUES(1,'{"budget": {"calls": 0, "minutes": 0, "tokens": 0, "usd": 0}, "experiment": {"episodes_per_round": 8, "exploration": 0.0, "final_episodes": 4, "new_skills_per_round": 6, "plans_per_round": 2, "rounds": 2, "temperature": 0.5}, "experimenter": {"affordance": 0.0, "ahead": 2, "analyse": "planner", "at_once": 3, "decompose": "planner", "exemplars": 3, "facts": true, "images": true, "max_tokens": 1500, "one_call": false, "price_in": -1, "price_out": -1, "propose": "planner", "retries": 5, "retrieve": "planner", "samples": 1, "spans": false, "structure": "auto", "temperature": 0.7, "timeout_s": 60}, "pac": {"acting_ema": 0.001, "action_bins": 31, "action_samples": 4, "alpha": 0.3, "batch_size": 32, "beta": 1.0, "blocks": 0, "eta": 2.0, "gamma": 0.96, "grad_clip": 1.0, "heads": 0, "latents": 0, "learning_rate": 0.0007, "n_step": 8, "network": "perceiver", "size": "xs", "target_ema": 0.005, "value_atoms": 51, "weight_decay": 0.0001, "width": 24}, "sampling": {"achieved": 0.4, "balance": 0.0, "balance_achieved": 0.5, "clone": "achieved", "horizon": 40, "memory": "ram", "only_successes": false, "own": 0.5, "sparse": 0.4}, "seed": 0, "seed_data": {"clean_share": 0.1, "episodes": 16, "max_noise": 0.6, "min_noise": 0.0, "random_share": 0.08, "segments": 2}, "training": {"device": "cpu", "early_stop": true, "evaluate_every": 10, "evaluation_episodes": 2, "evaluation_temperature": 0.33, "minutes": 0, "parts": 2, "precision": "float32", "processes": 1, "round_updates": 20, "sharded": false, "threads": 1, "updates": 30}, "world": {"n_blocks": 2, "n_envs": 8, "name": "blocks", "threads": 0, "variant": "single"}}',0,'ludus run --preset tiny','{}',1700000000.0);
CREATE TABLE shards (
	number INTEGER NOT NULL, 
	name VARCHAR(400) NOT NULL, 
	step VARCHAR(400), 
	episodes INTEGER NOT NULL, 
	transitions INTEGER NOT NULL, 
	checksum TEXT NOT NULL, 
	PRIMARY KEY (number), 
	CONSTRAINT shards_key UNIQUE (name)
);
INSERT INTO "shards" VALUES(1,'seed-data.000.safetensors','seed-data/000',1,160,'c');
CREATE TABLE skills (
	number INTEGER NOT NULL, 
	hash VARCHAR(400) NOT NULL, 
	step VARCHAR(400), 
	round INTEGER NOT NULL, 
	caption TEXT NOT NULL, 
	reward TEXT NOT NULL, 
	success TEXT NOT NULL, 
	steps INTEGER NOT NULL, 
	base BOOLEAN NOT NULL, 
	PRIMARY KEY (number), 
	CONSTRAINT skills_key UNIQUE (hash)
);
INSERT INTO "skills" VALUES(1,'h1','begin',0,'reach red','near(red)','at(red)',80,1);
INSERT INTO "skills" VALUES(2,'h2','round/1/plan',1,'turn red','near(red)','at(red)',80,0);
CREATE TABLE steps (
	number INTEGER NOT NULL, 
	name VARCHAR(400) NOT NULL, 
	result JSON NOT NULL, 
	started FLOAT, 
	seconds FLOAT, 
	PRIMARY KEY (number), 
	CONSTRAINT steps_key UNIQUE (name)
);
INSERT INTO "steps" VALUES(1,'begin','{}',1700000000.0,1.0);
INSERT INTO "steps" VALUES(2,'seed-data/000','{}',1700000000.0,1.0);
INSERT INTO "steps" VALUES(3,'pretrain/train/000','{"sampler": {"batches": 10}, "stop": false, "updates": 10}',1700000000.0,1.0);
INSERT INTO "steps" VALUES(4,'round/1/plan','{}',1700000000.0,1.0);
CREATE TABLE verdicts (
	number INTEGER NOT NULL, 
	round INTEGER NOT NULL, 
	"update" INTEGER NOT NULL, 
	caption VARCHAR(400) NOT NULL, 
	step VARCHAR(400), 
	judgement TEXT NOT NULL, 
	probability FLOAT, 
	why TEXT NOT NULL, 
	PRIMARY KEY (number), 
	CONSTRAINT verdicts_key UNIQUE (round, "update", caption)
);
INSERT INTO "verdicts" VALUES(1,0,10,'reach red','pretrain/train/000','unclear',0.5,'too few');
CREATE INDEX ix_messages_step ON messages (step);
CREATE INDEX ix_shards_step ON shards (step);
CREATE INDEX ix_episodes_step ON episodes (step);
CREATE INDEX ix_skills_step ON skills (step);
CREATE INDEX ix_outcomes_step ON outcomes (step);
CREATE INDEX ix_metrics_step ON metrics (step);
CREATE INDEX ix_evaluations_step ON evaluations (step);
CREATE INDEX ix_plans_step ON plans (step);
CREATE INDEX ix_verdicts_step ON verdicts (step);
COMMIT;
