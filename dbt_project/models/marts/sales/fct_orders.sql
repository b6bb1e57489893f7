{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget('order_id', ref('int_touched_orders')) }}"
    )
}}
with touched as (
    select order_id from {{ ref('int_touched_orders') }}
),

orders as (
    select orders.*
    from {{ ref('stg_orders') }} as orders
    inner join touched on orders.id = touched.order_id
    where orders._op <> 'D'
),

lines as (
    select
        lines.order_id,
        count(*) as line_count,
        sum(lines.quantity) as ordered,
        sum(lines.quantity - lines.cancelled) as units,
        sum(lines.allocated) as allocated,
        sum(lines.backordered) as backordered,
        sum(lines.shipped) as shipped,
        sum(lines.cancelled) as cancelled,
        sum(lines.gross_sales) as gross_sales,
        sum(lines.discounts) as discounts
    from {{ ref('fct_order_lines') }} as lines
    inner join touched on lines.order_id = touched.order_id
    group by lines.order_id
),

returns as (
    select
        returns.order_id,
        sum(returns.returned_sales) as returns
    from {{ ref('fct_returns') }} as returns
    inner join touched on returns.order_id = touched.order_id
    where returns.refunded_on is not null
    group by returns.order_id
),

forgiven as (
    select
        returns.order_id,
        sum(coalesce(returns.forgiven_minor, 0)) as forgiven_minor
    from {{ ref('stg_returns') }} as returns
    inner join touched on returns.order_id = touched.order_id
    where returns._op <> 'D'
    group by returns.order_id
),

owed as (
    -- What an order costs less what was cancelled, and what came back before it was paid.
    select
        orders.id as order_id,
        coalesce(orders.cancelled_minor, 0) + coalesce(forgiven.forgiven_minor, 0) as waived_minor,
        orders.total_minor
        - coalesce(orders.cancelled_minor, 0)
        - coalesce(forgiven.forgiven_minor, 0) as owed_minor
    from orders
    left join forgiven on orders.id = forgiven.order_id
),

shipments as (
    select
        shipments.order_id,
        min(shipments.shipped_at) as first_shipped_at,
        max(shipments.delivered_at) as last_delivered_at,
        min(case when shipments.status = 'delivered' then 1 else 0 end) as is_delivered
    from {{ ref('stg_shipments') }} as shipments
    inner join touched on shipments.order_id = touched.order_id
    where shipments._op <> 'D' and shipments.status <> 'cancelled'
    group by shipments.order_id
)

select
    orders.id as order_id,
    orders.number as order_number,
    orders.external_id,
    orders.channel,
    orders.customer_id,
    warehouses.warehouse,
    orders.status,
    case
        when coalesce(payments.refunded_minor, 0) > 0
            and payments.refunded_minor >= payments.captured_minor then 'refunded'
        when coalesce(payments.refunded_minor, 0) > 0 then 'partly_refunded'
        -- What the customer's bank took back is not paid.
        when
            coalesce(payments.captured_minor - payments.charged_back_minor, 0) >= owed.owed_minor
            and (payments.captured_minor > 0 or orders.total_minor = 0) then 'paid'
        when
            coalesce(payments.captured_minor - payments.charged_back_minor, 0) > 0
            then 'partly_paid'
        when
            owed.owed_minor > 0 and payments.captured_minor = 0
            and payments.authorised_minor >= owed.owed_minor then 'authorised'
        -- What cancelled units made void does not make the payment of the others void.
        when payments.voided_minor > owed.waived_minor then 'voided'
        when payments.voided_minor > 0 and owed.owed_minor = 0 then 'voided'
        else 'unpaid'
    end as payment_status,
    case
        when lines.cancelled = lines.ordered then 'cancelled'
        when lines.shipped = lines.units and shipments.is_delivered = 1 then 'delivered'
        when lines.shipped = lines.units then 'shipped'
        when lines.shipped > 0 then 'partly_shipped'
        when lines.backordered > 0 then 'backordered'
        when lines.allocated > 0 then 'allocated'
        else 'unallocated'
    end as fulfilment_status,
    orders.placed_at,
    {{ shop_day('orders.placed_at') }} as ordered_on,
    orders.deliver_by,
    cast(lines.line_count as integer) as line_count,
    cast(lines.units as bigint) as units,
    cast(lines.gross_sales as decimal(18, 2)) as gross_sales,
    cast(lines.discounts as decimal(18, 2)) as discounts,
    orders.currency,
    {{ money(base_minor('orders.shipping_minor', 'orders')) }} as shipping,
    {{ money(base_minor('orders.tax_minor', 'orders')) }} as tax,
    {{ money(base_minor('orders.total_minor', 'orders')) }} as order_total,
    {{ money(base_minor('coalesce(orders.cancelled_minor, 0)', 'orders')) }} as cancelled_total,
    cast(coalesce(returns.returns, 0) as decimal(18, 2)) as returns,
    cast(lines.gross_sales - lines.discounts - coalesce(returns.returns, 0) as decimal(18, 2))
        as net_sales,
    {{ money('coalesce(payments.base_captured_minor, 0)') }} as captured,
    {{ money('coalesce(payments.base_refunded_minor, 0)') }} as refunded,
    shipments.first_shipped_at,
    case when shipments.is_delivered = 1 then shipments.last_delivered_at end as delivered_at,
    cast(lines.backordered as bigint) as backordered_units,
    {{ hours_between('orders.placed_at', 'shipments.first_shipped_at') }} as hours_to_ship
from orders
inner join lines on orders.id = lines.order_id
inner join owed on orders.id = owed.order_id
inner join {{ ref('dim_warehouses') }} as warehouses
    on orders.warehouse_id = warehouses.warehouse_id
left join {{ ref('int_order_payments') }} as payments on orders.id = payments.order_id
left join shipments on orders.id = shipments.order_id
left join returns on orders.id = returns.order_id
