{{ config(materialized='table') }}
-- Orders that this build has to do again: something of them changed, or a SKU on them, or the
-- warehouse that they went to.
with changed as (
    select id as order_id, _file from {{ ref('stg_orders') }}
    union all
    select order_id, _file from {{ ref('stg_order_lines') }}
    union all
    select order_id, _file from {{ ref('stg_shipments') }}
    union all
    select order_id, _file from {{ ref('stg_payments') }}
    union all
    select order_id, _file from {{ ref('stg_refunds') }}
    union all
    select order_id, _file from {{ ref('stg_returns') }}
    union all
    select order_id, _file from {{ ref('stg_feedback') }}
    union all
    select returns.order_id, lines._file
    from {{ ref('stg_return_lines') }} as lines
    inner join {{ ref('stg_returns') }} as returns on lines.return_id = returns.id
    union all
    select payments.order_id, events._file
    from {{ ref('stg_payment_events') }} as events
    inner join {{ ref('stg_payments') }} as payments on events.payment_id = payments.id
    union all
    select payments.order_id, operations._file
    from {{ ref('stg_payment_operations') }} as operations
    inner join {{ ref('stg_payments') }} as payments on operations.payment_id = payments.id
    union all
    select refunds.order_id, items._file
    from {{ ref('stg_refund_items') }} as items
    inner join {{ ref('stg_refunds') }} as refunds on items.refund_id = refunds.id
    union all
    select shipments.order_id, lines._file
    from {{ ref('stg_shipment_lines') }} as lines
    inner join {{ ref('stg_shipments') }} as shipments on lines.shipment_id = shipments.id
    union all
    select shipments.order_id, picks._file
    from {{ ref('stg_picks') }} as picks
    inner join {{ ref('stg_shipments') }} as shipments on picks.shipment_id = shipments.id
    union all
    select orders.id as order_id, warehouses._file
    from {{ ref('stg_orders') }} as orders
    inner join {{ ref('stg_warehouses') }} as warehouses on orders.warehouse_id = warehouses.id
    union all
    select shipments.order_id, warehouses._file
    from {{ ref('stg_shipments') }} as shipments
    inner join {{ ref('stg_warehouses') }} as warehouses on shipments.warehouse_id = warehouses.id
    union all
    select lines.order_id, skus._file
    from {{ ref('stg_order_lines') }} as lines
    inner join {{ ref('stg_skus') }} as skus on lines.sku_id = skus.id
)

select distinct order_id
from changed
where _file > '{{ processed_up_to() }}'
