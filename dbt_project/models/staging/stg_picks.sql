{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('picks', {
    'id': 'bigint',
    'wave_id': 'bigint',
    'shipment_id': 'bigint',
    'shipment_line_id': 'bigint',
    'location_id': 'bigint',
    'sku_id': 'bigint',
    'quantity': 'bigint',
    'picked': 'bigint',
    'picked_at': 'timestamptz',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
