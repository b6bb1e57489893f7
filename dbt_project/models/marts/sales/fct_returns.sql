{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget('order_id', ref('int_touched_orders')) }}"
    )
}}
-- depends_on: {{ ref('int_touched_days') }}
with touched as (
    select order_id from {{ ref('int_touched_orders') }}
),

orders as (
    select orders.*
    from {{ ref('stg_orders') }} as orders
    inner join touched on orders.id = touched.order_id
    where orders._op <> 'D'
),

returned as (
    select
        lines.id,
        lines.return_id,
        lines.order_line_id,
        lines.sku_id,
        lines.disposition,
        lines.refund_minor,
        coalesce(lines.fee_minor, 0) as fee_minor,
        coalesce(lines.reason, 'other') as reason_code,
        returns.number,
        returns.order_id,
        returns.warehouse_id,
        returns.status,
        returns.received_at,
        coalesce(lines.received, lines.quantity) as quantity,
        coalesce(nullif(returns.reason, ''), lines.reason, '') as reason,
        -- What came back before it was paid is a return on the day that was settled.
        case when returns.refund_minor = 0 then {{ shop_day('returns.resolved_at') }} end
            as settled_on,
        -- Before returns kept the tax in a refund, only what was in the price went back.
        coalesce(
            lines.tax_minor,
            case
                when orders.tax_included and order_lines.net_minor > 0
                    then {{ share_of('order_lines.tax_minor', 'lines.refund_minor', 'order_lines.net_minor') }}
                else 0
            end
        ) as refunded_tax_minor
    from {{ ref('stg_return_lines') }} as lines
    inner join {{ ref('stg_returns') }} as returns on lines.return_id = returns.id
    inner join orders on returns.order_id = orders.id
    inner join {{ ref('stg_order_lines') }} as order_lines on lines.order_line_id = order_lines.id
    where lines._op <> 'D' and returns._op <> 'D'
),

refunds as (
    select
        refunds.return_id,
        min({{ shop_day('refunds.refunded_at') }}) as refunded_on
    from {{ ref('stg_refunds') }} as refunds
    inner join touched on refunds.order_id = touched.order_id
    where refunds._op <> 'D' and refunds.status = 'settled' and refunds.return_id is not null
    group by refunds.return_id
)

-- Tax goes back with the price, and it was never part of the sales.
select
    returned.id as return_line_id,
    returned.return_id,
    returned.number as return_number,
    returned.order_id,
    orders.number as order_number,
    returned.order_line_id,
    returned.sku_id,
    skus.sku,
    skus.sku_name,
    skus.department,
    skus.category,
    warehouses.warehouse,
    orders.channel,
    orders.ship_country as country,
    returned.reason,
    returned.reason_code,
    returned.disposition,
    returned.status,
    returned.quantity,
    {{ money(base_minor('returned.refund_minor', 'orders')) }} as refund,
    {{ money(base_minor('returned.refund_minor - returned.refunded_tax_minor', 'orders')) }}
        as returned_sales,
    {{ money(base_minor('returned.fee_minor', 'orders')) }} as fee,
    coalesce(refunds.refunded_on, returned.settled_on) as refunded_on,
    {{ shop_day('returned.received_at') }} as received_on
from returned
inner join orders on returned.order_id = orders.id
inner join {{ ref('dim_skus') }} as skus on returned.sku_id = skus.sku_id
inner join {{ ref('dim_warehouses') }} as warehouses
    on orders.warehouse_id = warehouses.warehouse_id
left join refunds on returned.return_id = refunds.return_id
