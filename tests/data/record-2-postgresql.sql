CREATE TABLE calls (
    number bigint NOT NULL,
    run_id character varying(120) NOT NULL,
    key character varying(400) NOT NULL,
    sample integer NOT NULL,
    attempt integer NOT NULL,
    role text NOT NULL,
    prompt text NOT NULL,
    request character varying(400) NOT NULL,
    images json NOT NULL,
    model text NOT NULL,
    answer json,
    error text,
    replayed boolean NOT NULL,
    turns integer NOT NULL,
    tokens_in integer NOT NULL,
    tokens_out integer NOT NULL,
    usd double precision,
    retries integer NOT NULL,
    seconds double precision,
    at double precision
);
CREATE SEQUENCE calls_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE calls_number_seq OWNED BY calls.number;
CREATE TABLE episodes (
    number bigint NOT NULL,
    run_id character varying(120) NOT NULL,
    id character varying(400) NOT NULL,
    step character varying(400),
    shard text NOT NULL,
    place integer NOT NULL,
    steps integer NOT NULL,
    segments json NOT NULL,
    actor text NOT NULL,
    world text NOT NULL,
    seed bigint NOT NULL,
    start text NOT NULL,
    ended text NOT NULL,
    info json NOT NULL
);
CREATE SEQUENCE episodes_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE episodes_number_seq OWNED BY episodes.number;
CREATE TABLE evaluations (
    number bigint NOT NULL,
    run_id character varying(120) NOT NULL,
    stage character varying(400) NOT NULL,
    update integer NOT NULL,
    caption character varying(400) NOT NULL,
    step character varying(400),
    skill text NOT NULL,
    n integer NOT NULL,
    successes integer NOT NULL,
    successes_once integer NOT NULL
);
CREATE SEQUENCE evaluations_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE evaluations_number_seq OWNED BY evaluations.number;
CREATE TABLE heartbeats (
    run_id character varying(120) NOT NULL,
    pid integer NOT NULL,
    host text NOT NULL,
    at double precision
);
CREATE TABLE messages (
    number bigint NOT NULL,
    run_id character varying(120) NOT NULL,
    key character varying(400) NOT NULL,
    step character varying(400),
    sender text NOT NULL,
    addressee text NOT NULL,
    kind text NOT NULL,
    text text NOT NULL,
    images json NOT NULL,
    payload json NOT NULL,
    at double precision
);
CREATE SEQUENCE messages_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE messages_number_seq OWNED BY messages.number;
CREATE TABLE metrics (
    number bigint NOT NULL,
    run_id character varying(120) NOT NULL,
    name character varying(400) NOT NULL,
    update integer NOT NULL,
    step character varying(400),
    value double precision
);
CREATE SEQUENCE metrics_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE metrics_number_seq OWNED BY metrics.number;
CREATE TABLE outcomes (
    number bigint NOT NULL,
    run_id character varying(120) NOT NULL,
    episode character varying(400) NOT NULL,
    segment integer NOT NULL,
    skill character varying(400) NOT NULL,
    step character varying(400),
    caption text NOT NULL,
    success_at_end boolean NOT NULL,
    success_once boolean NOT NULL,
    reward double precision
);
CREATE SEQUENCE outcomes_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE outcomes_number_seq OWNED BY outcomes.number;
CREATE TABLE plans (
    number bigint NOT NULL,
    run_id character varying(120) NOT NULL,
    round integer NOT NULL,
    id character varying(400) NOT NULL,
    step character varying(400),
    task text NOT NULL,
    why text NOT NULL,
    success_probability double precision,
    goal text,
    steps json NOT NULL,
    retrievals json NOT NULL
);
CREATE SEQUENCE plans_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE plans_number_seq OWNED BY plans.number;
CREATE TABLE runs (
    run_id character varying(120) NOT NULL,
    schema integer NOT NULL,
    directory text NOT NULL,
    config json NOT NULL,
    seed bigint NOT NULL,
    command text NOT NULL,
    versions json NOT NULL,
    created double precision
);
CREATE TABLE shards (
    number bigint NOT NULL,
    run_id character varying(120) NOT NULL,
    name character varying(400) NOT NULL,
    step character varying(400),
    episodes integer NOT NULL,
    transitions integer NOT NULL,
    checksum text NOT NULL
);
CREATE SEQUENCE shards_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE shards_number_seq OWNED BY shards.number;
CREATE TABLE skill_changes (
    number bigint NOT NULL,
    run_id character varying(120) NOT NULL,
    caption character varying(400) NOT NULL,
    round integer NOT NULL,
    status character varying(40) NOT NULL,
    step character varying(400)
);
CREATE SEQUENCE skill_changes_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE skill_changes_number_seq OWNED BY skill_changes.number;
CREATE TABLE skills (
    number bigint NOT NULL,
    run_id character varying(120) NOT NULL,
    hash character varying(400) NOT NULL,
    step character varying(400),
    round integer NOT NULL,
    caption text NOT NULL,
    reward text NOT NULL,
    success text NOT NULL,
    steps integer NOT NULL,
    base boolean NOT NULL,
    author text NOT NULL,
    parents json NOT NULL
);
CREATE SEQUENCE skills_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE skills_number_seq OWNED BY skills.number;
CREATE TABLE stages (
    number bigint NOT NULL,
    run_id character varying(120) NOT NULL,
    name character varying(400) NOT NULL,
    done integer NOT NULL,
    total integer NOT NULL,
    started double precision,
    updated double precision,
    finished double precision
);
CREATE SEQUENCE stages_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE stages_number_seq OWNED BY stages.number;
CREATE TABLE steps (
    number bigint NOT NULL,
    run_id character varying(120) NOT NULL,
    name character varying(400) NOT NULL,
    result json NOT NULL,
    started double precision,
    seconds double precision
);
CREATE SEQUENCE steps_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE steps_number_seq OWNED BY steps.number;
CREATE TABLE verdicts (
    number bigint NOT NULL,
    run_id character varying(120) NOT NULL,
    round integer NOT NULL,
    update integer NOT NULL,
    caption character varying(400) NOT NULL,
    step character varying(400),
    judgement text NOT NULL,
    probability double precision,
    why text NOT NULL
);
CREATE SEQUENCE verdicts_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE verdicts_number_seq OWNED BY verdicts.number;
ALTER TABLE ONLY calls ALTER COLUMN number SET DEFAULT nextval('calls_number_seq'::regclass);
ALTER TABLE ONLY episodes ALTER COLUMN number SET DEFAULT nextval('episodes_number_seq'::regclass);
ALTER TABLE ONLY evaluations ALTER COLUMN number SET DEFAULT nextval('evaluations_number_seq'::regclass);
ALTER TABLE ONLY messages ALTER COLUMN number SET DEFAULT nextval('messages_number_seq'::regclass);
ALTER TABLE ONLY metrics ALTER COLUMN number SET DEFAULT nextval('metrics_number_seq'::regclass);
ALTER TABLE ONLY outcomes ALTER COLUMN number SET DEFAULT nextval('outcomes_number_seq'::regclass);
ALTER TABLE ONLY plans ALTER COLUMN number SET DEFAULT nextval('plans_number_seq'::regclass);
ALTER TABLE ONLY shards ALTER COLUMN number SET DEFAULT nextval('shards_number_seq'::regclass);
ALTER TABLE ONLY skill_changes ALTER COLUMN number SET DEFAULT nextval('skill_changes_number_seq'::regclass);
ALTER TABLE ONLY skills ALTER COLUMN number SET DEFAULT nextval('skills_number_seq'::regclass);
ALTER TABLE ONLY stages ALTER COLUMN number SET DEFAULT nextval('stages_number_seq'::regclass);
ALTER TABLE ONLY steps ALTER COLUMN number SET DEFAULT nextval('steps_number_seq'::regclass);
ALTER TABLE ONLY verdicts ALTER COLUMN number SET DEFAULT nextval('verdicts_number_seq'::regclass);
INSERT INTO calls VALUES (1, 'a', 'key', 0, 0, 'role', 'prompt', 'request', '[]', 'model', '{"task": "x"}', NULL, false, 0, 0, 0, NULL, 0, 0, 0);
INSERT INTO episodes VALUES (1, 'a', 'e1', 'a', 'a.safetensors', 0, 3, '[[0, "reach red", "h1"]]', 'teacher', 'w', 4611686018427387904, 'default', 'time', '{}');
INSERT INTO evaluations VALUES (1, 'a', 'before', 7, 'reach red', NULL, 'h1', 8, 3, 5);
INSERT INTO evaluations VALUES (2, 'a', 'before', 7, 'grasp red', NULL, 'h2', 8, 0, 1);
INSERT INTO heartbeats VALUES ('a', 7319, 'vm', 1795785909.855704);
INSERT INTO messages VALUES (1, 'a', 'm1', NULL, 'loop', 'all', 'note', 'hello', '["images/a.png"]', '{"x": [1, 2.5], "y": null}', 1795785909.4809132);
INSERT INTO messages VALUES (2, 'a', 'm2', NULL, 'loop', 'all', 'note', 'hello', '["images/a.png"]', '{"x": [1, 2.5], "y": null}', 1795785909.4809213);
INSERT INTO messages VALUES (3, 'a', 'live', 'a', 'loop', 'all', 'note', 'hello', '["images/a.png"]', '{"x": [1, 2.5], "y": null}', 1795785909.7325168);
INSERT INTO metrics VALUES (1, 'a', 'loss/critic', 1, NULL, 0.5);
INSERT INTO metrics VALUES (2, 'a', 'loss/actor', 1, NULL, NULL);
INSERT INTO metrics VALUES (3, 'a', 'time/fit', 1, NULL, 1.5);
INSERT INTO outcomes VALUES (1, 'a', 'e1', 0, 'hash of reach red', 'a', 'reach red', true, true, 0.5);
INSERT INTO outcomes VALUES (2, 'a', 'e1', 1, 'hash of reach red', 'a', 'reach red', false, true, 0.5);
INSERT INTO plans VALUES (1, 'a', 1, 'p1', NULL, 'a tower', 'it is new', 0.25, 'on(red, green)', '["first", "then"]', '[{"caption": "reach red", "missing": null, "options": [], "step": "first"}, {"caption": null, "missing": "turn red over", "options": [], "step": "then"}]');
INSERT INTO runs VALUES ('a', 2, '/runs/a', '{"agent": {"acting_ema": 0.001, "action_bins": 31, "action_samples": 4, "alpha": 0.3, "batch_size": 32, "beta": 1.0, "blocks": 0, "eta": 2.0, "gamma": 0.0, "grad_clip": 1.0, "heads": 0, "horizon_s": 1.25, "latents": 0, "learning_rate": 0.0007, "n_step": 0, "n_step_s": 0.4, "name": "pac", "network": "perceiver", "options": {}, "size": "xs", "target_ema": 0.005, "value_atoms": 51, "weight_decay": 0.0001, "width": 16}, "budget": {"calls": 0, "minutes": 0, "tokens": 0, "usd": 0}, "experiment": {"episodes_per_round": 8, "exploration": 0.0, "fill": true, "final_episodes": 2, "max_practising": 1, "plans_per_round": 2, "practice_exploration": 0.1, "practice_ratio": 0.75, "practice_rounds": 6, "practice_temperature": 0.6, "rehearsal": 0.15, "rounds": 2, "stop_after": 1, "switching": "fixed", "temperature": 0.5}, "experimenter": {"affordance": 0.0, "analyse": "planner", "answer_s": 0, "decompose": "planner", "exemplars": 3, "facts": true, "images": true, "max_concurrency": 16, "max_tokens": 1500, "one_call": false, "prefetch": 1, "price_in": -1, "price_out": -1, "propose": "planner", "retries": 5, "retrieve": "planner", "samples": 1, "spans": false, "structure": "auto", "temperature": 0.7, "timeout_s": 60, "write_skill": "planner"}, "oversight": {"approve_skills": false, "ask": false, "default": "reject", "forbid": "", "timeout_s": 600}, "sampling": {"balance": 0.0, "balance_hindsight": 0.0, "bc_labels": "commanded", "commanded_ratio": 0.6, "focus": 0.5, "hindsight_ratio": 0.3, "horizon": 40, "memory": "ram", "only_successes": false, "sparse": 0.4}, "seed": 0, "seed_data": {"actor": "auto", "clean_share": 0.1, "episodes": 16, "max_noise": 0.6, "min_noise": 0.0, "random_share": 0.08, "segments": 2}, "training": {"device": "cpu", "early_stop": true, "evaluate_every": 10, "evaluation_episodes": 1, "evaluation_temperature": 0.33, "microbatches": 2, "minutes": 0.0, "precision": "float32", "processes": 1, "round_updates": 20, "sharded": false, "threads": 1, "updates": 30}, "world": {"n_blocks": 2, "n_envs": 16, "name": "blocks", "options": {}, "threads": 0, "variant": "single", "version": ""}}', 0, 'ludus run', '{"gymnasium": "1.4.0", "ludus": "0.1.0", "mujoco": "4.0.0", "numpy": "2.4.6", "python": "3.11.7", "safetensors": "0.8.0", "sqlalchemy": "2.1.9", "torch": "2.13.0+cpu"}', 1795785909.2220058);
INSERT INTO shards VALUES (1, 'a', 'a.safetensors', 'a', 1, 3, 'c');
INSERT INTO skill_changes VALUES (1, 'a', 'reach red', 3, 'base', NULL);
INSERT INTO skill_changes VALUES (2, 'a', 'reach red', 4, 'dropped', 'a');
INSERT INTO skills VALUES (1, 'a', 'h1', NULL, 3, 'reach red', 'near(red)', 'at(red)', 80, true, 'base', '[]');
INSERT INTO steps VALUES (1, 'a', 'a', '{}', 1795785909.7074797, 0.10664094599633245);
INSERT INTO verdicts VALUES (1, 'a', 1, 800, 'reach red', NULL, 'converged', 0.9, 'flat');
SELECT pg_catalog.setval('calls_number_seq', 1, true);
SELECT pg_catalog.setval('episodes_number_seq', 1, true);
SELECT pg_catalog.setval('evaluations_number_seq', 2, true);
SELECT pg_catalog.setval('messages_number_seq', 3, true);
SELECT pg_catalog.setval('metrics_number_seq', 3, true);
SELECT pg_catalog.setval('outcomes_number_seq', 2, true);
SELECT pg_catalog.setval('plans_number_seq', 1, true);
SELECT pg_catalog.setval('shards_number_seq', 1, true);
SELECT pg_catalog.setval('skill_changes_number_seq', 2, true);
SELECT pg_catalog.setval('skills_number_seq', 1, true);
SELECT pg_catalog.setval('stages_number_seq', 1, false);
SELECT pg_catalog.setval('steps_number_seq', 1, true);
SELECT pg_catalog.setval('verdicts_number_seq', 1, true);
ALTER TABLE ONLY calls
    ADD CONSTRAINT calls_key UNIQUE (run_id, key, sample, attempt, request);
ALTER TABLE ONLY calls
    ADD CONSTRAINT calls_pkey PRIMARY KEY (number);
ALTER TABLE ONLY episodes
    ADD CONSTRAINT episodes_key UNIQUE (run_id, id);
ALTER TABLE ONLY episodes
    ADD CONSTRAINT episodes_pkey PRIMARY KEY (number);
ALTER TABLE ONLY evaluations
    ADD CONSTRAINT evaluations_key UNIQUE (run_id, stage, update, caption);
ALTER TABLE ONLY evaluations
    ADD CONSTRAINT evaluations_pkey PRIMARY KEY (number);
ALTER TABLE ONLY heartbeats
    ADD CONSTRAINT heartbeats_pkey PRIMARY KEY (run_id);
ALTER TABLE ONLY messages
    ADD CONSTRAINT messages_key UNIQUE (run_id, key);
ALTER TABLE ONLY messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (number);
ALTER TABLE ONLY metrics
    ADD CONSTRAINT metrics_key UNIQUE (run_id, name, update);
ALTER TABLE ONLY metrics
    ADD CONSTRAINT metrics_pkey PRIMARY KEY (number);
ALTER TABLE ONLY outcomes
    ADD CONSTRAINT outcomes_key UNIQUE (run_id, episode, segment, skill);
ALTER TABLE ONLY outcomes
    ADD CONSTRAINT outcomes_pkey PRIMARY KEY (number);
ALTER TABLE ONLY plans
    ADD CONSTRAINT plans_key UNIQUE (run_id, round, id);
ALTER TABLE ONLY plans
    ADD CONSTRAINT plans_pkey PRIMARY KEY (number);
ALTER TABLE ONLY runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (run_id);
ALTER TABLE ONLY shards
    ADD CONSTRAINT shards_key UNIQUE (run_id, name);
ALTER TABLE ONLY shards
    ADD CONSTRAINT shards_pkey PRIMARY KEY (number);
ALTER TABLE ONLY skill_changes
    ADD CONSTRAINT skill_changes_key UNIQUE (run_id, caption, round, status);
ALTER TABLE ONLY skill_changes
    ADD CONSTRAINT skill_changes_pkey PRIMARY KEY (number);
ALTER TABLE ONLY skills
    ADD CONSTRAINT skills_key UNIQUE (run_id, hash);
ALTER TABLE ONLY skills
    ADD CONSTRAINT skills_pkey PRIMARY KEY (number);
ALTER TABLE ONLY stages
    ADD CONSTRAINT stages_key UNIQUE (run_id, name);
ALTER TABLE ONLY stages
    ADD CONSTRAINT stages_pkey PRIMARY KEY (number);
ALTER TABLE ONLY steps
    ADD CONSTRAINT steps_key UNIQUE (run_id, name);
ALTER TABLE ONLY steps
    ADD CONSTRAINT steps_pkey PRIMARY KEY (number);
ALTER TABLE ONLY verdicts
    ADD CONSTRAINT verdicts_key UNIQUE (run_id, round, update, caption);
ALTER TABLE ONLY verdicts
    ADD CONSTRAINT verdicts_pkey PRIMARY KEY (number);
CREATE INDEX episodes_number ON episodes USING btree (run_id, number);
CREATE INDEX episodes_step ON episodes USING btree (run_id, step);
CREATE INDEX evaluations_step ON evaluations USING btree (run_id, step);
CREATE INDEX messages_kind ON messages USING btree (run_id, kind, number);
CREATE INDEX messages_number ON messages USING btree (run_id, number);
CREATE INDEX messages_step ON messages USING btree (run_id, step);
CREATE INDEX metrics_step ON metrics USING btree (run_id, step);
CREATE INDEX outcomes_step ON outcomes USING btree (run_id, step);
CREATE INDEX plans_step ON plans USING btree (run_id, step);
CREATE INDEX shards_step ON shards USING btree (run_id, step);
CREATE INDEX skill_changes_step ON skill_changes USING btree (run_id, step);
CREATE INDEX skills_step ON skills USING btree (run_id, step);
CREATE INDEX verdicts_step ON verdicts USING btree (run_id, step);
