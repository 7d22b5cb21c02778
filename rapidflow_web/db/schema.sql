-- What the migrations make of an empty SQLite database. Written by `python -m scripts.schema`.
BEGIN TRANSACTION;
CREATE TABLE "commit_status" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "commit" VARCHAR(64) NOT NULL,
    "context" VARCHAR(255) NOT NULL,
    "state" VARCHAR(16) NOT NULL,
    "description" TEXT NOT NULL,
    "job_id" BIGINT,
    "pipeline_id" BIGINT,
    "changed_at" BIGINT NOT NULL,
    "serial" BIGINT NOT NULL,
    "sent" BIGINT NOT NULL,
    "attempts" INT NOT NULL,
    "next_at" BIGINT,
    "error" TEXT,
    "repository_id" BIGINT NOT NULL REFERENCES "repository" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_commit_stat_reposit_d5199c" UNIQUE ("repository_id", "commit", "context")
);
CREATE TABLE "decision" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "outcome" VARCHAR(16) NOT NULL,
    "reason" TEXT NOT NULL,
    "event_id" BIGINT NOT NULL REFERENCES "event" ("id") ON DELETE CASCADE,
    "job_id" BIGINT REFERENCES "job" ("id") ON DELETE SET NULL,
    "pipeline_id" BIGINT NOT NULL REFERENCES "pipeline" ("id") ON DELETE CASCADE
);
CREATE TABLE "deed" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "at" BIGINT NOT NULL,
    "actor" VARCHAR(160) NOT NULL,
    "address" VARCHAR(64) NOT NULL,
    "action" VARCHAR(64) NOT NULL,
    "target" TEXT NOT NULL,
    "status" INT NOT NULL
, "count" INT NOT NULL DEFAULT 1, "user_name" VARCHAR(160) NOT NULL DEFAULT '');
CREATE TABLE "definition" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "name" TEXT NOT NULL,
    "config" TEXT NOT NULL
);
CREATE TABLE "delivery" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "key" VARCHAR(255),
    "event" VARCHAR(64) NOT NULL,
    "headers" JSON NOT NULL,
    "size" BIGINT NOT NULL,
    "at" BIGINT NOT NULL,
    "status" INT NOT NULL,
    "reason" TEXT,
    "replay_of" BIGINT,
    "handled_at" BIGINT,
    "outcome" TEXT,
    "body" BLOB,
    "repository_id" BIGINT NOT NULL REFERENCES "repository" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_delivery_reposit_19858e" UNIQUE ("repository_id", "key")
);
CREATE TABLE "environment" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "key" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "job_id" BIGINT NOT NULL REFERENCES "job" ("id") ON DELETE CASCADE
);
CREATE TABLE "event" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "kind" VARCHAR(16) NOT NULL,
    "ref" TEXT,
    "before" VARCHAR(64),
    "after" VARCHAR(64),
    "source" VARCHAR(16) NOT NULL,
    "sender" TEXT,
    "title" TEXT,
    "pull_request" JSON,
    "at" BIGINT NOT NULL,
    "delivery_id" BIGINT REFERENCES "delivery" ("id") ON DELETE SET NULL,
    "repository_id" BIGINT REFERENCES "repository" ("id") ON DELETE CASCADE
);
CREATE TABLE "image" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "name" VARCHAR(512) NOT NULL UNIQUE,
    "used_at" BIGINT NOT NULL
);
CREATE TABLE "job" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "status" VARCHAR(16) NOT NULL,
    "branch" TEXT,
    "repo_name" TEXT,
    "language" TEXT,
    "version" TEXT,
    "folder" TEXT,
    "expose_ports" INT NOT NULL,
    "cancelled" INT NOT NULL,
    "container_id" TEXT,
    "created_at" BIGINT NOT NULL,
    "started_at" BIGINT,
    "finished_at" BIGINT,
    "error" TEXT,
    "commit" TEXT,
    "retry_of" BIGINT,
    "ports" JSON,
    "image" TEXT,
    "started_by" TEXT NOT NULL,
    "timeline" JSON NOT NULL,
    "log_size" BIGINT,
    "definition_id" BIGINT NOT NULL REFERENCES "definition" ("id") ON DELETE RESTRICT,
    "pipeline_id" BIGINT NOT NULL REFERENCES "pipeline" ("id") ON DELETE RESTRICT
, "stored_size" BIGINT, "approval" VARCHAR(16), "author" TEXT, "base" VARCHAR(64), "before" VARCHAR(64), "concurrency_group" TEXT, "event" VARCHAR(16) NOT NULL DEFAULT 'manual', "pull_request" JSON, "ref" TEXT, "superseded_by" BIGINT, "title" TEXT, "unread" INT NOT NULL DEFAULT 0, "untrusted" INT NOT NULL DEFAULT 0, "upload_id" BIGINT, "failure" JSON, "attempt" INT, "cause" VARCHAR(16), "lead_id" BIGINT, "part" TEXT, "parts" INT, "priority" INT NOT NULL DEFAULT 0, "node" TEXT, "node_name" TEXT, "on_node" TEXT);
CREATE TABLE "mask" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "value" TEXT NOT NULL,
    "job_id" BIGINT NOT NULL REFERENCES "job" ("id") ON DELETE CASCADE
);
CREATE TABLE "notification" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "target" JSON NOT NULL,
    "lane" TEXT NOT NULL,
    "occasion" VARCHAR(16) NOT NULL,
    "created_at" BIGINT NOT NULL,
    "attempts" INT NOT NULL,
    "next_at" BIGINT,
    "sent_at" BIGINT,
    "error" TEXT,
    "job_id" BIGINT NOT NULL REFERENCES "job" ("id") ON DELETE CASCADE
);
CREATE TABLE "outbox" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "listener" VARCHAR(64) NOT NULL,
    "status" VARCHAR(16) NOT NULL,
    "at" BIGINT NOT NULL,
    "job_id" BIGINT NOT NULL REFERENCES "job" ("id") ON DELETE CASCADE
);
CREATE TABLE "pipeline" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "created_at" BIGINT NOT NULL,
    "updated_at" BIGINT NOT NULL,
    "deleted_at" BIGINT,
    "definition_id" BIGINT NOT NULL REFERENCES "definition" ("id") ON DELETE RESTRICT
, "restricted" INT NOT NULL DEFAULT 0, "on_default_branch" INT NOT NULL DEFAULT 1, "path" TEXT, "problem" TEXT, "repository_id" BIGINT REFERENCES "repository" ("id") ON DELETE RESTRICT, "labels" TEXT);
CREATE TABLE "pipeline_grant" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "pipeline_id" BIGINT NOT NULL REFERENCES "pipeline" ("id") ON DELETE CASCADE,
    "user_id" BIGINT NOT NULL REFERENCES "user_account" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_pipeline_gr_pipelin_e0e4b6" UNIQUE ("pipeline_id", "user_id")
);
CREATE TABLE "repository" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "url" TEXT NOT NULL,
    "forge" VARCHAR(16) NOT NULL,
    "default_branch" TEXT NOT NULL,
    "hook_key" VARCHAR(64) NOT NULL UNIQUE,
    "hook_id" TEXT,
    "old_secret_until" BIGINT,
    "poll" BIGINT,
    "polled_at" BIGINT,
    "next_poll_at" BIGINT,
    "poll_failures" INT NOT NULL,
    "poll_error" TEXT,
    "statuses_paused_until" BIGINT,
    "forks" VARCHAR(16) NOT NULL,
    "secrets" JSON NOT NULL,
    "problems" JSON NOT NULL,
    "created_at" BIGINT NOT NULL,
    "deleted_at" BIGINT
);
CREATE TABLE "repository_ref" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "ref" TEXT NOT NULL,
    "value" VARCHAR(64) NOT NULL,
    "repository_id" BIGINT NOT NULL REFERENCES "repository" ("id") ON DELETE CASCADE
);
CREATE TABLE "schedule" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "key" VARCHAR(255) NOT NULL,
    "due_at" BIGINT NOT NULL,
    "pipeline_id" BIGINT NOT NULL REFERENCES "pipeline" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_schedule_pipelin_033ebd" UNIQUE ("pipeline_id", "key")
);
CREATE TABLE "secret" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "scope" BIGINT NOT NULL,
    "name" VARCHAR(255) NOT NULL,
    "value" TEXT NOT NULL,
    "updated_at" BIGINT NOT NULL,
    "updated_by" VARCHAR(160) NOT NULL,
    CONSTRAINT "uid_secret_scope_b1055b" UNIQUE ("scope", "name")
);
CREATE TABLE "session" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "digest" VARCHAR(64) NOT NULL UNIQUE,
    "created_at" BIGINT NOT NULL,
    "expires_at" BIGINT NOT NULL,
    "user_id" BIGINT NOT NULL REFERENCES "user_account" ("id") ON DELETE CASCADE
);
CREATE TABLE "step" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "order_num" INT NOT NULL,
    "type" VARCHAR(16) NOT NULL,
    "content" TEXT NOT NULL,
    "status" VARCHAR(16) NOT NULL,
    "created_at" BIGINT NOT NULL,
    "name" TEXT,
    "exit_code" INT,
    "started_at" BIGINT,
    "finished_at" BIGINT,
    "job_id" BIGINT NOT NULL REFERENCES "job" ("id") ON DELETE CASCADE
, "longest_silence" BIGINT, "skipped" TEXT, "part" JSON, "post" INT NOT NULL DEFAULT 0);
CREATE TABLE "token" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "digest" VARCHAR(64) NOT NULL UNIQUE,
    "name" VARCHAR(64) NOT NULL,
    "role" VARCHAR(16) NOT NULL,
    "pipelines" JSON,
    "created_at" BIGINT NOT NULL,
    "expires_at" BIGINT,
    "used_at" BIGINT,
    "user_id" BIGINT NOT NULL REFERENCES "user_account" ("id") ON DELETE CASCADE
, "limited" INT NOT NULL DEFAULT 0);
CREATE TABLE "tortoise_migrations" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "app" VARCHAR(255) NOT NULL,
    "name" VARCHAR(255) NOT NULL,
    "applied_at" TIMESTAMP NOT NULL,
    CONSTRAINT "uid_tortoise_mi_app_3803a5" UNIQUE ("app", "name")
);
INSERT INTO "tortoise_migrations" VALUES(1,'rapidflow','0001_initial','1970-01-01 00:00:00+00:00');
INSERT INTO "tortoise_migrations" VALUES(2,'rapidflow','0002_history_filters','1970-01-01 00:00:00+00:00');
INSERT INTO "tortoise_migrations" VALUES(3,'rapidflow','0003_upkeep','1970-01-01 00:00:00+00:00');
INSERT INTO "tortoise_migrations" VALUES(4,'rapidflow','0004_access','1970-01-01 00:00:00+00:00');
INSERT INTO "tortoise_migrations" VALUES(5,'rapidflow','0005_secrets','1970-01-01 00:00:00+00:00');
INSERT INTO "tortoise_migrations" VALUES(6,'rapidflow','0006_audit_bounds','1970-01-01 00:00:00+00:00');
INSERT INTO "tortoise_migrations" VALUES(7,'rapidflow','0007_outbox','1970-01-01 00:00:00+00:00');
INSERT INTO "tortoise_migrations" VALUES(8,'rapidflow','0008_shares_and_limits','1970-01-01 00:00:00+00:00');
INSERT INTO "tortoise_migrations" VALUES(9,'rapidflow','0009_repositories','1970-01-01 00:00:00+00:00');
INSERT INTO "tortoise_migrations" VALUES(10,'rapidflow','0010_uploads','1970-01-01 00:00:00+00:00');
INSERT INTO "tortoise_migrations" VALUES(11,'rapidflow','0011_failures_and_filters','1970-01-01 00:00:00+00:00');
INSERT INTO "tortoise_migrations" VALUES(12,'rapidflow','0012_labels','1970-01-01 00:00:00+00:00');
INSERT INTO "tortoise_migrations" VALUES(13,'rapidflow','0013_parts','1970-01-01 00:00:00+00:00');
INSERT INTO "tortoise_migrations" VALUES(14,'rapidflow','0014_nodes','1970-01-01 00:00:00+00:00');
CREATE TABLE "upload" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "owner" TEXT NOT NULL,
    "commit" VARCHAR(64),
    "size" BIGINT NOT NULL,
    "created_at" BIGINT NOT NULL,
    "pipeline_id" BIGINT NOT NULL REFERENCES "pipeline" ("id") ON DELETE CASCADE
);
CREATE TABLE "user_account" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "name" VARCHAR(64) NOT NULL UNIQUE,
    "password" TEXT,
    "role" VARCHAR(16) NOT NULL,
    "created_at" BIGINT NOT NULL
);
CREATE INDEX "idx_job_status_830470" ON "job" ("status", "id");
CREATE INDEX "idx_job_pipelin_33101f" ON "job" ("pipeline_id", "id");
CREATE INDEX "idx_job_branch_3559ec" ON "job" ("branch", "id");
CREATE INDEX "idx_job_log_siz_3d2909" ON "job" ("log_size");
CREATE INDEX "idx_job_retry_o_ea21e7" ON "job" ("retry_of");
CREATE INDEX "idx_environment_job_id_699cac" ON "environment" ("job_id");
CREATE INDEX "idx_step_job_id_f5ccaf" ON "step" ("job_id", "order_num");
CREATE INDEX "idx_job_pipelin_d2bd81" ON "job" ("pipeline_id", "status", "id");
CREATE INDEX "idx_job_finishe_6ddac6" ON "job" ("finished_at");
CREATE INDEX "idx_job_stored__297343" ON "job" ("stored_size", "id");
CREATE INDEX "idx_mask_job_id_a61ee5" ON "mask" ("job_id");
CREATE INDEX "idx_deed_action_c5dd38" ON "deed" ("action", "actor", "status");
CREATE INDEX "idx_outbox_listene_917dfb" ON "outbox" ("listener", "id");
CREATE INDEX "idx_outbox_job_id_b0cb6a" ON "outbox" ("job_id");
CREATE INDEX "idx_deed_user_na_46700d" ON "deed" ("user_name", "status", "action", "id");
CREATE INDEX "idx_notificatio_next_at_bb4fd9" ON "notification" ("next_at");
CREATE INDEX "idx_notificatio_job_id_a143b9" ON "notification" ("job_id");
CREATE INDEX "idx_commit_stat_next_at_f492c0" ON "commit_status" ("next_at");
CREATE INDEX "idx_delivery_reposit_e35dfe" ON "delivery" ("repository_id", "id");
CREATE INDEX "idx_delivery_handled_6cffa8" ON "delivery" ("handled_at", "repository_id");
CREATE INDEX "idx_event_reposit_f21462" ON "event" ("repository_id", "id");
CREATE INDEX "idx_event_reposit_d5fe1f" ON "event" ("repository_id", "after");
CREATE INDEX "idx_event_deliver_61e84b" ON "event" ("delivery_id");
CREATE INDEX "idx_decision_event_i_1d95e1" ON "decision" ("event_id");
CREATE INDEX "idx_decision_pipelin_8b518f" ON "decision" ("pipeline_id", "id");
CREATE INDEX "idx_decision_job_id_ae6d4a" ON "decision" ("job_id");
CREATE INDEX "idx_repository__reposit_0124af" ON "repository_ref" ("repository_id", "ref");
CREATE INDEX "idx_schedule_due_at_c86d24" ON "schedule" ("due_at");
CREATE INDEX "idx_job_pipelin_d66e59" ON "job" ("pipeline_id", "commit");
CREATE INDEX "idx_job_pipelin_424c58" ON "job" ("pipeline_id", "ref", "id");
CREATE INDEX "idx_pipeline_reposit_a0a90d" ON "pipeline" ("repository_id");
CREATE INDEX "idx_upload_owner_243156" ON "upload" ("owner");
CREATE INDEX "idx_job_upload__7a28ce" ON "job" ("upload_id");
CREATE INDEX "idx_job_created_366d29" ON "job" ("created_at");
CREATE INDEX "idx_job_started_20cfad" ON "job" ("started_by", "id");
CREATE INDEX "idx_job_author_eefe60" ON "job" ("author", "id");
CREATE INDEX "idx_job_pipelin_59f4e5" ON "job" ("pipeline_id", "branch", "status", "lead_id", "id");
CREATE INDEX "idx_job_lead_id_053e2d" ON "job" ("lead_id", "id");
CREATE INDEX "idx_job_status_32dedd" ON "job" ("status", "lead_id");
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('tortoise_migrations',14);
COMMIT;
