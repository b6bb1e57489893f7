{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }}

{{ stage('skus', {
    'id': 'bigint',
    'code': 'varchar',
    'name': 'varchar',
    'department': 'varchar',
    'category': 'varchar',
    'brand': 'varchar',
    'pack_size': 'varchar',
    'barcode': 'varchar',
    'is_active': 'boolean',
    'currency': 'varchar',
    'price_minor': 'bigint',
    'tax_category': 'varchar',
    'min_quantity': 'bigint',
    'quantity_multiple': 'bigint',
    'max_quantity': 'bigint',
    'channels': 'varchar',
    'weight_grams': 'bigint',
    'version': 'integer',
    'changed_by': 'varchar',
    'changed_at': 'timestamptz'
}) }}
