-- Rendered from sql/oma/versions by `python -m tests.schema`; do not edit.
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, 
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> 0001

CREATE TABLE cloudstack_job_tracking (
    id BIGINT NOT NULL AUTO_INCREMENT, 
    cloudstack_job_id VARCHAR(36) NOT NULL, 
    cloudstack_command VARCHAR(64) NOT NULL, 
    cloudstack_status VARCHAR(32) NOT NULL, 
    operation_type VARCHAR(64) NOT NULL, 
    correlation_id VARCHAR(36) NOT NULL, 
    parent_job_id VARCHAR(36), 
    status VARCHAR(32) NOT NULL, 
    created_at DATETIME(6) NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_cloudstack_job_tracking PRIMARY KEY (id), 
    CONSTRAINT uq_cloudstack_job_tracking_cloudstack_job_id UNIQUE (cloudstack_job_id)
);

CREATE INDEX ix_cloudstack_job_tracking_correlation_id ON cloudstack_job_tracking (correlation_id);

CREATE INDEX ix_cloudstack_job_tracking_status ON cloudstack_job_tracking (status);

CREATE TABLE joblog_jobs (
    id VARCHAR(36) NOT NULL, 
    parent_job_id VARCHAR(36), 
    correlation_id VARCHAR(36) NOT NULL, 
    kind VARCHAR(64) NOT NULL, 
    owner VARCHAR(255) NOT NULL, 
    status VARCHAR(16) NOT NULL, 
    host VARCHAR(255) NOT NULL, 
    pid INTEGER NOT NULL, 
    process_started VARCHAR(64) NOT NULL, 
    error_message LONGTEXT, 
    started_at DATETIME(6) NOT NULL, 
    completed_at DATETIME(6), 
    CONSTRAINT pk_joblog_jobs PRIMARY KEY (id)
);

CREATE INDEX ix_joblog_jobs_correlation_id ON joblog_jobs (correlation_id);

CREATE INDEX ix_joblog_jobs_parent_job_id ON joblog_jobs (parent_job_id);

CREATE INDEX ix_joblog_jobs_started_at ON joblog_jobs (started_at);

CREATE INDEX ix_joblog_jobs_status ON joblog_jobs (status);

CREATE TABLE ossea_configs (
    id BIGINT NOT NULL AUTO_INCREMENT, 
    name VARCHAR(255) NOT NULL, 
    api_url VARCHAR(255) NOT NULL, 
    api_key LONGTEXT NOT NULL, 
    secret_key LONGTEXT NOT NULL, 
    domain VARCHAR(255) NOT NULL, 
    zone VARCHAR(255) NOT NULL, 
    template_id VARCHAR(36), 
    network_id VARCHAR(36), 
    service_offering_id VARCHAR(36), 
    disk_offering_id VARCHAR(36), 
    oma_vm_id VARCHAR(36), 
    created_at DATETIME(6) NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    is_active BOOL NOT NULL, 
    CONSTRAINT pk_ossea_configs PRIMARY KEY (id), 
    CONSTRAINT uq_ossea_configs_name UNIQUE (name)
);

CREATE TABLE vm_locks (
    name VARCHAR(64) NOT NULL, 
    holder VARCHAR(255) NOT NULL, 
    acquired_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_vm_locks PRIMARY KEY (name)
);

CREATE TABLE joblog_steps (
    id BIGINT NOT NULL AUTO_INCREMENT, 
    job_id VARCHAR(36) NOT NULL, 
    correlation_id VARCHAR(36) NOT NULL, 
    sequence INTEGER NOT NULL, 
    name VARCHAR(255) NOT NULL, 
    status VARCHAR(16) NOT NULL, 
    error_message LONGTEXT, 
    started_at DATETIME(6) NOT NULL, 
    completed_at DATETIME(6), 
    CONSTRAINT pk_joblog_steps PRIMARY KEY (id), 
    CONSTRAINT fk_joblog_steps_job_id FOREIGN KEY(job_id) REFERENCES joblog_jobs (id)
);

CREATE INDEX ix_joblog_steps_job_id ON joblog_steps (job_id);

CREATE TABLE replication_jobs (
    id VARCHAR(36) NOT NULL, 
    source_vm_id VARCHAR(36) NOT NULL, 
    source_vm_name VARCHAR(255) NOT NULL, 
    source_vm_path LONGTEXT NOT NULL, 
    vcenter_host VARCHAR(255) NOT NULL, 
    datacenter VARCHAR(255) NOT NULL, 
    replication_type VARCHAR(32) NOT NULL, 
    target_network VARCHAR(255), 
    status VARCHAR(32) NOT NULL, 
    progress_percent FLOAT NOT NULL, 
    current_operation VARCHAR(255), 
    bytes_transferred BIGINT NOT NULL, 
    total_bytes BIGINT NOT NULL, 
    transfer_speed_bps BIGINT NOT NULL, 
    error_message LONGTEXT, 
    change_id VARCHAR(255), 
    previous_change_id VARCHAR(255), 
    snapshot_id VARCHAR(255), 
    nbd_port INTEGER, 
    nbd_export_name VARCHAR(255), 
    target_device VARCHAR(255), 
    ossea_config_id BIGINT, 
    created_at DATETIME(6) NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    started_at DATETIME(6), 
    completed_at DATETIME(6), 
    CONSTRAINT pk_replication_jobs PRIMARY KEY (id), 
    CONSTRAINT fk_replication_jobs_ossea_config_id FOREIGN KEY(ossea_config_id) REFERENCES ossea_configs (id)
);

CREATE INDEX ix_replication_jobs_created_at ON replication_jobs (created_at);

CREATE INDEX ix_replication_jobs_source_vm_id ON replication_jobs (source_vm_id);

CREATE INDEX ix_replication_jobs_source_vm_name ON replication_jobs (source_vm_name);

CREATE INDEX ix_replication_jobs_status ON replication_jobs (status);

CREATE TABLE failover_jobs (
    id VARCHAR(36) NOT NULL, 
    replication_job_id VARCHAR(36) NOT NULL, 
    vm_id VARCHAR(36) NOT NULL, 
    job_type VARCHAR(16) NOT NULL, 
    status VARCHAR(32) NOT NULL, 
    destination_vm_id VARCHAR(36), 
    linstor_snapshot_name LONGTEXT, 
    network_mappings JSON, 
    error_message LONGTEXT, 
    created_at DATETIME(6) NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    started_at DATETIME(6), 
    completed_at DATETIME(6), 
    CONSTRAINT pk_failover_jobs PRIMARY KEY (id), 
    CONSTRAINT fk_failover_jobs_replication_job_id FOREIGN KEY(replication_job_id) REFERENCES replication_jobs (id)
);

CREATE INDEX ix_failover_jobs_status ON failover_jobs (status);

CREATE INDEX ix_failover_jobs_vm_id ON failover_jobs (vm_id);

CREATE TABLE joblog_events (
    id BIGINT NOT NULL AUTO_INCREMENT, 
    job_id VARCHAR(36) NOT NULL, 
    step_id BIGINT, 
    correlation_id VARCHAR(36) NOT NULL, 
    level VARCHAR(16) NOT NULL, 
    message LONGTEXT NOT NULL, 
    fields JSON, 
    created_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_joblog_events PRIMARY KEY (id), 
    CONSTRAINT fk_joblog_events_job_id FOREIGN KEY(job_id) REFERENCES joblog_jobs (id), 
    CONSTRAINT fk_joblog_events_step_id FOREIGN KEY(step_id) REFERENCES joblog_steps (id)
);

CREATE INDEX ix_joblog_events_job_id ON joblog_events (job_id);

CREATE TABLE replication_checkpoints (
    volume_id VARCHAR(36) NOT NULL, 
    job_id VARCHAR(36) NOT NULL, 
    base_change_id VARCHAR(255), 
    snapshot_change_id VARCHAR(255) NOT NULL, 
    position BIGINT NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_replication_checkpoints PRIMARY KEY (volume_id), 
    CONSTRAINT fk_replication_checkpoints_job_id FOREIGN KEY(job_id) REFERENCES replication_jobs (id)
);

CREATE TABLE vm_disks (
    id BIGINT NOT NULL AUTO_INCREMENT, 
    job_id VARCHAR(36) NOT NULL, 
    disk_id VARCHAR(36) NOT NULL, 
    vmdk_path LONGTEXT NOT NULL, 
    size_gb INTEGER NOT NULL, 
    datastore VARCHAR(255) NOT NULL, 
    unit_number INTEGER NOT NULL, 
    label VARCHAR(255) NOT NULL, 
    capacity_bytes BIGINT NOT NULL, 
    provisioning_type VARCHAR(32) NOT NULL, 
    ossea_volume_id VARCHAR(36), 
    disk_change_id VARCHAR(255), 
    sync_status VARCHAR(32) NOT NULL, 
    sync_progress_percent FLOAT NOT NULL, 
    bytes_synced BIGINT NOT NULL, 
    created_at DATETIME(6) NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_vm_disks PRIMARY KEY (id), 
    CONSTRAINT fk_vm_disks_job_id FOREIGN KEY(job_id) REFERENCES replication_jobs (id)
);

CREATE INDEX ix_vm_disks_job_id ON vm_disks (job_id);

CREATE INDEX ix_vm_disks_ossea_volume_id ON vm_disks (ossea_volume_id);

CREATE TABLE failover_states (
    failover_job_id VARCHAR(36) NOT NULL, 
    committed BOOL NOT NULL, 
    state JSON NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_failover_states PRIMARY KEY (failover_job_id), 
    CONSTRAINT fk_failover_states_failover_job_id FOREIGN KEY(failover_job_id) REFERENCES failover_jobs (id)
);

INSERT INTO alembic_version (version_num) VALUES ('0001');

-- Running upgrade 0001 -> 0003_deploy

CREATE TABLE IF NOT EXISTS network_mappings (
    id BIGINT NOT NULL AUTO_INCREMENT, 
    machine VARCHAR(255) NOT NULL, 
    source VARCHAR(255) NOT NULL, 
    target VARCHAR(255), 
    origin VARCHAR(32) NOT NULL, 
    created_at DATETIME(6) NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_network_mappings PRIMARY KEY (id), 
    CONSTRAINT uq_network_mappings_machine UNIQUE (machine, source)
);

UPDATE alembic_version SET version_num='0003_deploy' WHERE alembic_version.version_num = '0001';

-- Running upgrade 0003_deploy -> 0006_joblog

CREATE TABLE joblog_progress (
    job_id VARCHAR(36) NOT NULL, 
    item VARCHAR(255) NOT NULL, 
    done BIGINT NOT NULL, 
    total BIGINT NOT NULL, 
    rate BIGINT NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_joblog_progress PRIMARY KEY (job_id, item), 
    CONSTRAINT fk_joblog_progress_job_id FOREIGN KEY(job_id) REFERENCES joblog_jobs (id)
);

ALTER TABLE joblog_events ADD COLUMN uid VARCHAR(36);

CREATE UNIQUE INDEX ix_joblog_events_uid ON joblog_events (uid);

UPDATE alembic_version SET version_num='0006_joblog' WHERE alembic_version.version_num = '0003_deploy';

-- Running upgrade 0006_joblog -> 0007_waves

CREATE TABLE IF NOT EXISTS waves (
    id VARCHAR(36) NOT NULL, 
    name VARCHAR(64) NOT NULL, 
    content LONGTEXT NOT NULL, 
    digest VARCHAR(64) NOT NULL, 
    status VARCHAR(16) NOT NULL, 
    task VARCHAR(16), 
    paused BOOL NOT NULL, 
    cancel_asked BOOL NOT NULL, 
    asked_by VARCHAR(255), 
    created_at DATETIME(6) NOT NULL, 
    started_at DATETIME(6), 
    ended_at DATETIME(6), 
    CONSTRAINT pk_waves PRIMARY KEY (id), 
    CONSTRAINT uq_waves_name UNIQUE (name)
);

CREATE INDEX IF NOT EXISTS ix_waves_status ON waves (status);

CREATE TABLE IF NOT EXISTS wave_vms (
    id BIGINT NOT NULL AUTO_INCREMENT, 
    wave_id VARCHAR(36) NOT NULL, 
    vm_id VARCHAR(255) NOT NULL, 
    vm_name VARCHAR(255) NOT NULL, 
    position INTEGER NOT NULL, 
    stage INTEGER NOT NULL, 
    group_name VARCHAR(255) NOT NULL, 
    vcenter VARCHAR(255) NOT NULL, 
    oma VARCHAR(255) NOT NULL, 
    host VARCHAR(255) NOT NULL, 
    state VARCHAR(16) NOT NULL, 
    came_from VARCHAR(16) NOT NULL, 
    task VARCHAR(16), 
    attempts INTEGER NOT NULL, 
    worker VARCHAR(255), 
    token VARCHAR(36), 
    heartbeat_at DATETIME(6), 
    cancel_asked BOOL NOT NULL, 
    job_id VARCHAR(36), 
    bytes_done BIGINT NOT NULL, 
    bytes_total BIGINT NOT NULL, 
    rate BIGINT NOT NULL, 
    error_what LONGTEXT, 
    error_why LONGTEXT, 
    error_todo LONGTEXT, 
    exit_code INTEGER, 
    result JSON, 
    started_at DATETIME(6), 
    ended_at DATETIME(6), 
    CONSTRAINT pk_wave_vms PRIMARY KEY (id), 
    CONSTRAINT fk_wave_vms_wave_id FOREIGN KEY(wave_id) REFERENCES waves (id), 
    CONSTRAINT uq_wave_vms_wave_id UNIQUE (wave_id, vm_id)
);

CREATE INDEX IF NOT EXISTS ix_wave_vms_state ON wave_vms (state, heartbeat_at);

CREATE INDEX IF NOT EXISTS ix_wave_vms_vm_id ON wave_vms (vm_id);

CREATE TABLE IF NOT EXISTS wave_attempts (
    token VARCHAR(36) NOT NULL, 
    machine_id BIGINT NOT NULL, 
    task VARCHAR(16) NOT NULL, 
    number INTEGER NOT NULL, 
    worker VARCHAR(255) NOT NULL, 
    outcome VARCHAR(16), 
    job_id VARCHAR(36), 
    bytes_done BIGINT NOT NULL, 
    error_what LONGTEXT, 
    error_why LONGTEXT, 
    error_todo LONGTEXT, 
    exit_code INTEGER, 
    started_at DATETIME(6) NOT NULL, 
    ended_at DATETIME(6), 
    CONSTRAINT pk_wave_attempts PRIMARY KEY (token), 
    CONSTRAINT fk_wave_attempts_machine_id FOREIGN KEY(machine_id) REFERENCES wave_vms (id)
);

CREATE INDEX IF NOT EXISTS ix_wave_attempts_machine_id ON wave_attempts (machine_id);

UPDATE alembic_version SET version_num='0007_waves' WHERE alembic_version.version_num = '0006_joblog';

-- Running upgrade 0007_waves -> 0012_fleet

CREATE TABLE IF NOT EXISTS fleet_runs (
    wave_id VARCHAR(36) NOT NULL, 
    kind VARCHAR(16) NOT NULL, 
    phase VARCHAR(16) NOT NULL, 
    again BOOL NOT NULL, 
    rehearse BOOL NOT NULL, 
    gate_open BOOL NOT NULL, 
    abort_below FLOAT NOT NULL, 
    note LONGTEXT, 
    failed BOOL NOT NULL, 
    asked_by VARCHAR(255) NOT NULL, 
    driver VARCHAR(255), 
    created_at DATETIME(6) NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_fleet_runs PRIMARY KEY (wave_id), 
    CONSTRAINT fk_fleet_runs_wave_id FOREIGN KEY(wave_id) REFERENCES waves (id)
);

CREATE INDEX IF NOT EXISTS ix_fleet_runs_phase ON fleet_runs (phase);

CREATE TABLE IF NOT EXISTS fleet_grants (
    token VARCHAR(36) NOT NULL, 
    granted BIGINT NOT NULL, 
    used BIGINT NOT NULL, 
    renewed_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_fleet_grants PRIMARY KEY (token)
);

UPDATE alembic_version SET version_num='0012_fleet' WHERE alembic_version.version_num = '0007_waves';

-- Running upgrade 0012_fleet -> 0019_event_kinds

ALTER TABLE joblog_events ADD COLUMN kind VARCHAR(64);

ALTER TABLE vm_locks ADD COLUMN kind VARCHAR(16);

ALTER TABLE vm_locks ADD COLUMN token VARCHAR(36);

UPDATE joblog_events SET kind=CASE WHEN (json_extract(joblog_events.fields, '$.tool') IS NOT NULL) THEN 'tool-output' WHEN (joblog_events.message = 'snapshot taken' AND json_extract(joblog_events.fields, '$.snapshot') IS NOT NULL) THEN 'source-snapshot-taken' WHEN (joblog_events.message LIKE '%% differ' AND json_extract(joblog_events.fields, '$.differing') IS NOT NULL) THEN 'disk-different' WHEN (joblog_events.message LIKE 'rehearsal %%, whose row is lost') THEN 'rehearsal-lost' WHEN (joblog_events.message LIKE 'rehearsal %%') THEN 'rehearsal-found' WHEN (joblog_events.message LIKE 'drift is over: %%') THEN 'drift-over' WHEN (joblog_events.message LIKE 'drift: %%') THEN 'drift-found' WHEN (joblog_events.message LIKE '%%: done' AND json_extract(joblog_events.fields, '$.seconds') IS NOT NULL) THEN 'probe-step-done' ELSE CASE joblog_events.message WHEN 'asked to stop' THEN 'stop-asked' WHEN 'cannot be cancelled any more' THEN 'cancel-closed' WHEN 'given up: its host is gone' THEN 'given-up' WHEN 'asked for other settings' THEN 'settings-asked' WHEN 'asked to cut over now' THEN 'cutover-asked' WHEN 'asked' THEN 'wave-asked' WHEN 'cleaned up after an interrupted run' THEN 'leftovers-cleaned' WHEN 'changed-block tracking' THEN 'change-tracking' WHEN 'volume ready' THEN 'volume-ready' WHEN 'plan' THEN 'disk-planned' WHEN 'changes unknown, copying everything' THEN 'changes-unknown' WHEN 'compared' THEN 'disk-differences' WHEN 'disk copied' THEN 'disk-copied' WHEN 'identical' THEN 'disk-identical' WHEN 'volume deleted' THEN 'volume-deleted' WHEN 'failover' THEN 'failover-joined' WHEN 'target' THEN 'target-chosen' WHEN 'waits until it may cut over' THEN 'cutover-waits' WHEN 'predicted downtime' THEN 'downtime-predicted' WHEN 'source is off' THEN 'source-off' WHEN 'every disk is synced' THEN 'disks-synced' WHEN 'identical by digests' THEN 'digests-identical' WHEN 'machine exists' THEN 'machine-exists' WHEN 'OS type set' THEN 'os-type-set' WHEN 'OS type is right' THEN 'os-type-right' WHEN 'OS type not set' THEN 'os-type-not-set' WHEN 'data disk attached' THEN 'data-disk-attached' WHEN 'machine runs' THEN 'machine-runs' WHEN 'machine is up' THEN 'machine-up' WHEN 'machine is not up' THEN 'machine-not-up' WHEN 'volume attached' THEN 'volume-attached' WHEN 'snapshot taken' THEN 'snapshot-taken' WHEN 'snapshot deleted' THEN 'snapshot-deleted' WHEN 'volume made' THEN 'volume-made' WHEN 'going back' THEN 'rollback-begun' WHEN 'machine is stopped' THEN 'machine-stopped' WHEN 'volume taken off' THEN 'volume-taken-off' WHEN 'volume not taken off' THEN 'volume-not-taken-off' WHEN 'source started' THEN 'source-back' WHEN 'source was running' THEN 'source-back' WHEN 'source left off' THEN 'source-back' WHEN 'volume attached to the OMA' THEN 'volume-back' WHEN 'volume left detached' THEN 'volume-left-detached' WHEN 'replication may go on' THEN 'replication-allowed' WHEN 'machine destroyed' THEN 'machine-destroyed' WHEN 'machine destroyed, not expunged' THEN 'machine-not-expunged' WHEN 'machine was gone' THEN 'machine-absent' WHEN 'machine removed' THEN 'orphan-removed' WHEN 'volume removed' THEN 'orphan-removed' WHEN 'snapshot removed' THEN 'orphan-removed' WHEN 'the guest is converted' THEN 'guest-converts' WHEN 'the guest is not converted' THEN 'guest-stays' WHEN 'the guest cannot be looked into' THEN 'guest-unreadable' WHEN 'virtio is built into the kernel' THEN 'virtio-built-in' WHEN 'an initramfs cannot be read' THEN 'initramfs-unreadable' WHEN 'looked into the initramfs' THEN 'initramfs-read' WHEN 'conversion begins' THEN 'conversion-begun' WHEN 'guest converted' THEN 'guest-converted' WHEN 'the snapshot is gone' THEN 'conversion-snapshot-gone' WHEN 'replica put back' THEN 'replica-put-back' WHEN 'converted volume deleted' THEN 'converted-volume-deleted' WHEN 'volume created' THEN 'volume-created' WHEN 'volume taken back' THEN 'volume-taken-back' WHEN 'device found' THEN 'device-found' WHEN 'attached but without a device, attaching again' THEN 'device-missing' WHEN 'attached' THEN 'attached' WHEN 'detached' THEN 'detached' WHEN 'exported' THEN 'exported' WHEN 'export removed' THEN 'export-removed' WHEN 'hashed' THEN 'hashed' WHEN 'room made' THEN 'room-made' WHEN 'volume could not be detached' THEN 'room-not-made' WHEN 'drift' THEN 'drift-confirmed' WHEN 'repaired' THEN 'drift-repaired' WHEN 'export taken back' THEN 'export-taken-back' WHEN 'export taken back, its connections stay open' THEN 'export-taken-back-in-use' WHEN 'what a probe has left is removed' THEN 'probe-leftover-removed' WHEN 'what a probe has left is not removed' THEN 'probe-leftover-stays' END END WHERE joblog_events.kind IS NULL;

UPDATE alembic_version SET version_num='0019_event_kinds' WHERE alembic_version.version_num = '0012_fleet';

-- Running upgrade 0019_event_kinds -> 0020_error_codes

ALTER TABLE wave_vms ADD COLUMN error_code VARCHAR(64);

ALTER TABLE wave_vms ADD COLUMN error_hint JSON;

ALTER TABLE wave_attempts ADD COLUMN error_code VARCHAR(64);

ALTER TABLE wave_attempts ADD COLUMN error_hint JSON;

UPDATE alembic_version SET version_num='0020_error_codes' WHERE alembic_version.version_num = '0019_event_kinds';

-- Running upgrade 0020_error_codes -> 0021_history

CREATE INDEX ix_joblog_jobs_owner_started_at ON joblog_jobs (owner, started_at);

CREATE INDEX ix_joblog_jobs_kind_started_at ON joblog_jobs (kind, started_at);

CREATE INDEX ix_joblog_jobs_status_started_at ON joblog_jobs (status, started_at);

CREATE INDEX ix_joblog_jobs_completed_at ON joblog_jobs (completed_at);

CREATE INDEX ix_joblog_steps_name_id ON joblog_steps (name, id);

CREATE INDEX ix_replication_jobs_source_vm_id_created_at ON replication_jobs (source_vm_id, created_at);

DROP INDEX ix_joblog_jobs_status ON joblog_jobs;

DROP INDEX ix_replication_jobs_source_vm_id ON replication_jobs;

CREATE TABLE source_vms (
    vm_id VARCHAR(36) NOT NULL, 
    name VARCHAR(255) NOT NULL, 
    path LONGTEXT NOT NULL, 
    newest_job_id VARCHAR(36) NOT NULL, 
    completed_job_id VARCHAR(36), 
    CONSTRAINT pk_source_vms PRIMARY KEY (vm_id), 
    CONSTRAINT fk_source_vms_newest_job_id FOREIGN KEY(newest_job_id) REFERENCES replication_jobs (id), 
    CONSTRAINT fk_source_vms_completed_job_id FOREIGN KEY(completed_job_id) REFERENCES replication_jobs (id)
);

CREATE INDEX ix_source_vms_name ON source_vms (name);

CREATE INDEX ix_source_vms_newest_job_id ON source_vms (newest_job_id);

CREATE INDEX ix_source_vms_completed_job_id ON source_vms (completed_job_id);

CREATE TABLE source_volumes (
    volume_id VARCHAR(36) NOT NULL, 
    vm_id VARCHAR(36) NOT NULL, 
    disk_id VARCHAR(36) NOT NULL, 
    CONSTRAINT pk_source_volumes PRIMARY KEY (volume_id)
);

CREATE INDEX ix_source_volumes_vm_id ON source_volumes (vm_id);

UPDATE alembic_version SET version_num='0021_history' WHERE alembic_version.version_num = '0020_error_codes';

-- Running upgrade 0021_history -> 0022_source

CREATE TABLE IF NOT EXISTS installation (
    id INTEGER NOT NULL, 
    token VARCHAR(12) NOT NULL, 
    created_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_installation PRIMARY KEY (id)
);

CREATE TABLE IF NOT EXISTS replica_disks (
    volume_id VARCHAR(36) NOT NULL, 
    disk_uuid VARCHAR(255) NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_replica_disks PRIMARY KEY (volume_id)
);

CREATE TABLE IF NOT EXISTS pending_removals (
    vm_uuid VARCHAR(36) NOT NULL, 
    snapshot_id VARCHAR(255) NOT NULL, 
    vm_name VARCHAR(255) NOT NULL, 
    vcenter_host VARCHAR(255) NOT NULL, 
    job_id VARCHAR(36) NOT NULL, 
    task_id VARCHAR(255), 
    reason LONGTEXT, 
    created_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_pending_removals PRIMARY KEY (vm_uuid, snapshot_id)
);

UPDATE alembic_version SET version_num='0022_source' WHERE alembic_version.version_num = '0021_history';

