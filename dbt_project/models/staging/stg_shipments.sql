{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('shipments', {
    'id': 'bigint',
    'number': 'varchar',
    'order_id': 'bigint',
    'warehouse_id': 'bigint',
    'status': 'varchar',
    'carrier': 'varchar',
    'tracking_number': 'varchar',
    'allocated_at': 'timestamptz',
    'picked_at': 'timestamptz',
    'packed_at': 'timestamptz',
    'shipped_at': 'timestamptz',
    'delivered_at': 'timestamptz',
    'failed_at': 'timestamptz',
    'failure_reason': 'varchar',
    'returned_at': 'timestamptz',
    'wave_id': 'bigint',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
