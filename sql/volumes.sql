-- Rendered from sql/volumes/versions by `python -m tests.schema`; do not edit.
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, 
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> 0001

CREATE TABLE device_mappings (
    id BIGINT NOT NULL AUTO_INCREMENT, 
    volume_id VARCHAR(36) NOT NULL, 
    vm_id VARCHAR(36) NOT NULL, 
    device_path VARCHAR(255), 
    cloudstack_state VARCHAR(32) NOT NULL, 
    linux_state VARCHAR(32) NOT NULL, 
    size BIGINT NOT NULL, 
    last_sync DATETIME(6), 
    created_at DATETIME(6) NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_device_mappings PRIMARY KEY (id), 
    CONSTRAINT uq_device_mappings_device_path UNIQUE (device_path), 
    CONSTRAINT uq_device_mappings_volume_id UNIQUE (volume_id)
);

CREATE TABLE volume_operations (
    id VARCHAR(36) NOT NULL, 
    type VARCHAR(32) NOT NULL, 
    status VARCHAR(16) NOT NULL, 
    volume_id VARCHAR(36), 
    vm_id VARCHAR(36), 
    request JSON NOT NULL, 
    response JSON, 
    error LONGTEXT, 
    created_at DATETIME(6) NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    completed_at DATETIME(6), 
    CONSTRAINT pk_volume_operations PRIMARY KEY (id)
);

CREATE INDEX ix_volume_operations_created_at ON volume_operations (created_at);

CREATE INDEX ix_volume_operations_status ON volume_operations (status);

CREATE INDEX ix_volume_operations_volume_id ON volume_operations (volume_id);

CREATE TABLE idempotency_keys (
    `key` VARCHAR(128) NOT NULL, 
    operation_id VARCHAR(36) NOT NULL, 
    request_digest VARCHAR(64) NOT NULL, 
    created_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (`key`), 
    CONSTRAINT fk_idempotency_keys_operation_id FOREIGN KEY(operation_id) REFERENCES volume_operations (id)
);

CREATE TABLE nbd_exports (
    id BIGINT NOT NULL AUTO_INCREMENT, 
    volume_id VARCHAR(36) NOT NULL, 
    export_name VARCHAR(255) NOT NULL, 
    device_path VARCHAR(255) NOT NULL, 
    port INTEGER NOT NULL, 
    status VARCHAR(16) NOT NULL, 
    metadata JSON, 
    created_at DATETIME(6) NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_nbd_exports PRIMARY KEY (id), 
    CONSTRAINT fk_nbd_exports_volume_id FOREIGN KEY(volume_id) REFERENCES device_mappings (volume_id) ON DELETE RESTRICT, 
    CONSTRAINT uq_nbd_exports_export_name UNIQUE (export_name), 
    CONSTRAINT uq_nbd_exports_volume_id UNIQUE (volume_id)
);

INSERT INTO alembic_version (version_num) VALUES ('0001');

-- Running upgrade 0001 -> 0002

CREATE INDEX ix_volume_operations_completed_at ON volume_operations (completed_at);

UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';

-- Running upgrade 0002 -> 0003

CREATE TABLE owned_volumes (
    volume_id VARCHAR(36) NOT NULL, 
    origin VARCHAR(16) NOT NULL, 
    confirmed_at DATETIME(6), 
    created_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_owned_volumes PRIMARY KEY (volume_id)
);

UPDATE alembic_version SET version_num='0003' WHERE alembic_version.version_num = '0002';

