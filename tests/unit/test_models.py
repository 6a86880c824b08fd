"""Tables and columns are the contract of DESIGN.md, name by name."""

from __future__ import annotations

import pytest

from migratekit_core.db.schema import METADATA

OMA = """\
- ossea_configs: id, name, api_url, api_key, secret_key, domain, zone, template_id, network_id, service_offering_id, disk_offering_id, oma_vm_id, created_at, updated_at, is_active
- replication_jobs: id, source_vm_id, source_vm_name, source_vm_path, vcenter_host, datacenter, replication_type, target_network, status, progress_percent, current_operation, bytes_transferred, total_bytes, transfer_speed_bps, error_message, change_id, previous_change_id, snapshot_id, nbd_port, nbd_export_name, target_device, ossea_config_id, created_at, updated_at, started_at, completed_at
- vm_disks: id, job_id, disk_id, vmdk_path, size_gb, datastore, unit_number, label, capacity_bytes, provisioning_type, ossea_volume_id, disk_change_id, sync_status, sync_progress_percent, bytes_synced, created_at, updated_at
- failover_jobs: id, replication_job_id, vm_id, job_type, status, destination_vm_id, linstor_snapshot_name, network_mappings, error_message, created_at, updated_at, started_at, completed_at
- cloudstack_job_tracking: id, cloudstack_job_id, cloudstack_command, cloudstack_status, operation_type, correlation_id, parent_job_id, status, created_at, updated_at
"""  # noqa: E501
VOLUMES = """\
- volume_operations: id, type, status, volume_id, vm_id, request, response, error, created_at, updated_at, completed_at
- device_mappings: id, volume_id, vm_id, device_path, cloudstack_state, linux_state, size, last_sync, created_at, updated_at
- nbd_exports: id, volume_id, export_name, device_path, port, status, metadata, created_at, updated_at
"""  # noqa: E501


def parsed(text: str) -> dict[str, set[str]]:
    tables = (line.removeprefix("- ").split(": ") for line in text.splitlines())
    return {table: set(columns.split(", ")) for table, columns in tables}


CONTRACT = [(database, table, columns) for database, text in (("oma", OMA), ("volumes", VOLUMES))
            for table, columns in parsed(text).items()]  # fmt: skip


@pytest.mark.parametrize(("database", "table", "columns"), CONTRACT, ids=[table for _, table, _ in CONTRACT])
def test_a_table_has_the_columns_of_the_contract_and_no_others(database: str, table: str, columns: set[str]) -> None:
    assert {column.name for column in METADATA[database].tables[table].columns} == columns


def test_every_table_of_the_contract_is_checked() -> None:
    assert len(CONTRACT) == 8
    assert sum(len(columns) for _, _, columns in CONTRACT) == 15 + 26 + 17 + 13 + 10 + 11 + 10 + 9


def test_no_further_table_takes_a_name_of_the_other_database() -> None:
    assert not set(METADATA["oma"].tables) & set(METADATA["volumes"].tables)
