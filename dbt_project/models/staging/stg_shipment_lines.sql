{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('shipment_lines', {
    'id': 'bigint',
    'shipment_id': 'bigint',
    'order_line_id': 'bigint',
    'sku_id': 'bigint',
    'quantity': 'bigint',
    'changed_by': 'varchar'
}) }}
