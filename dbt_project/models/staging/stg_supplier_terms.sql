{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('supplier_terms', {
    'id': 'bigint',
    'supplier_id': 'bigint',
    'sku_id': 'bigint',
    'currency': 'varchar',
    'unit_cost_minor': 'bigint',
    'moq': 'bigint',
    'pack_multiple': 'bigint',
    'is_preferred': 'boolean',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
