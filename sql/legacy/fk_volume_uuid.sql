-- Legacy form 1 of the volume daemon's database: device_mappings.volume_uuid, and nbd_exports refers to it.
SET time_zone = '+00:00';

CREATE TABLE device_mappings (
    id INT NOT NULL AUTO_INCREMENT,
    volume_uuid VARCHAR(64) NOT NULL,
    vm_id VARCHAR(64) NOT NULL,
    device_path VARCHAR(255),
    cloudstack_state VARCHAR(32) NOT NULL,
    linux_state VARCHAR(32) NOT NULL,
    size BIGINT NOT NULL,
    last_sync TIMESTAMP NULL DEFAULT NULL,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    PRIMARY KEY (id),
    UNIQUE KEY uk_volume_uuid (volume_uuid),
    UNIQUE KEY uk_device_path (device_path)
) ENGINE=InnoDB;

INSERT INTO device_mappings
    (id, volume_uuid, vm_id, device_path, cloudstack_state, linux_state, size, last_sync, created_at, updated_at) VALUES
    (3, '8a3c5f0e-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000001', '/dev/vdb', 'attached', 'attached',
     42949672960, '2025-03-01 10:00:00', '2025-02-01 08:00:00', '2025-03-01 10:00:00'),
    (5, '8a3c5f0e-0000-4000-8000-000000000002', '11111111-0000-4000-8000-000000000001', '/dev/vdc', 'attached', 'attached',
     5497558138880, '2025-03-01 10:00:00', '2025-02-01 08:00:00', '2025-03-01 10:00:00'),
    (9, '8a3c5f0e-0000-4000-8000-000000000003', '11111111-0000-4000-8000-000000000002', NULL, 'attached', 'elsewhere',
     10737418240, NULL, '2025-02-02 08:00:00', '2025-02-02 08:00:00');

CREATE TABLE nbd_exports (
    id INT NOT NULL AUTO_INCREMENT,
    volume_id VARCHAR(64) NOT NULL,
    export_name VARCHAR(255) NOT NULL,
    device_path VARCHAR(255) NOT NULL,
    port INT NOT NULL,
    status VARCHAR(16) NOT NULL DEFAULT 'pending',
    metadata JSON,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    PRIMARY KEY (id),
    UNIQUE KEY uk_export_name (export_name),
    CONSTRAINT fk_exports_volume FOREIGN KEY (volume_id) REFERENCES device_mappings (volume_uuid) ON DELETE CASCADE
) ENGINE=InnoDB;

INSERT INTO nbd_exports
    (id, volume_id, export_name, device_path, port, status, metadata, created_at, updated_at) VALUES
    (1, '8a3c5f0e-0000-4000-8000-000000000001', 'migration-web01-2000-0a1b2c3d', '/dev/vdb', 10809, 'active',
     '{"disk": 0}', '2025-02-01 08:00:10', '2025-03-01 10:00:00'),
    (2, '8a3c5f0e-0000-4000-8000-000000000002', 'migration-web01-2001-4e5f6a7b', '/dev/vdc', 10809, 'active',
     NULL, '2025-02-01 08:00:20', '2025-03-01 10:00:00');

CREATE TABLE volume_operations (
    id VARCHAR(64) NOT NULL,
    type VARCHAR(32) NOT NULL,
    status ENUM('pending', 'running', 'completed', 'failed') NOT NULL DEFAULT 'pending',
    volume_id VARCHAR(64),
    vm_id VARCHAR(64),
    request JSON NOT NULL,
    response JSON,
    error TEXT,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    completed_at TIMESTAMP NULL DEFAULT NULL,
    PRIMARY KEY (id),
    KEY idx_volume_operations_status (status)
) ENGINE=InnoDB;

INSERT INTO volume_operations (id, type, status, volume_id, vm_id, request, created_at, updated_at, completed_at) VALUES
    ('op-00000001', 'attach', 'completed', '8a3c5f0e-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000001',
     '{"origin": "field"}', '2025-02-01 08:00:00', '2025-02-01 08:00:05', '2025-02-01 08:00:05');
