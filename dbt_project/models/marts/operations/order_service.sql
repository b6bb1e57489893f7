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

lines as (
    select
        lines.order_id,
        count(*) as line_count,
        sum(lines.quantity - lines.cancelled) as units,
        -- One line that is not known makes the order's fill unknown.
        case when count(lines.filled_at_once) = count(*) then sum(lines.filled_at_once) end
            as filled_units,
        case
            when count(lines.filled_at_once) = count(*)
                then
                    count(
                        case when lines.filled_at_once = lines.quantity - lines.cancelled then 1 end
                    )
        end as filled_lines
    from {{ ref('fct_order_lines') }} as lines
    inner join touched on lines.order_id = touched.order_id
    where lines.cancelled < lines.quantity
    group by lines.order_id
),

shipments as (
    select
        shipments.order_id,
        count(*) as shipment_count,
        max(case when shipments.failed_at is null then 0 else 1 end) as has_failed
    from {{ ref('stg_shipments') }} as shipments
    inner join touched on shipments.order_id = touched.order_id
    where shipments._op <> 'D' and shipments.status <> 'cancelled'
    group by shipments.order_id
),

faults as (
    select distinct returns.order_id
    from {{ ref('fct_returns') }} as returns
    inner join touched on returns.order_id = touched.order_id
    where
        returns.reason_code in (
            'damaged', 'wrong_item', 'not_as_described', 'undelivered', 'too_late'
        )
        and returns.status not in ('refused', 'cancelled', 'expired')
),

charge_backs as (
    select distinct payments.order_id
    from {{ ref('stg_payments') }} as payments
    inner join touched on payments.order_id = touched.order_id
    where payments._op <> 'D' and payments.charged_back_minor > 0
),

measured as (
    select
        orders.order_id,
        orders.order_number,
        orders.customer_id,
        orders.warehouse,
        orders.channel,
        orders.ordered_on,
        orders.deliver_by,
        case
            when orders.fulfilment_status = 'delivered' then {{ shop_day('orders.delivered_at') }}
        end as delivered_on,
        lines.line_count,
        lines.units,
        lines.filled_lines,
        lines.filled_units,
        coalesce(shipments.shipment_count, 0) as shipment_count,
        coalesce(shipments.has_failed, 0) = 1 as has_failed_delivery,
        faults.order_id is not null as has_fault_return,
        charge_backs.order_id is not null as is_charged_back
    from {{ ref('fct_orders') }} as orders
    inner join lines on orders.order_id = lines.order_id
    left join shipments on orders.order_id = shipments.order_id
    left join faults on orders.order_id = faults.order_id
    left join charge_backs on orders.order_id = charge_backs.order_id
)

select
    order_id,
    order_number,
    customer_id,
    warehouse,
    channel,
    ordered_on,
    deliver_by,
    delivered_on,
    cast(line_count as integer) as line_count,
    cast(units as bigint) as units,
    cast(filled_lines as integer) as filled_lines,
    cast(filled_units as bigint) as filled_units,
    cast(shipment_count as integer) as shipment_count,
    filled_units = units as is_filled_at_once,
    shipment_count > 1 as is_split,
    has_failed_delivery,
    has_fault_return,
    is_charged_back,
    delivered_on <= deliver_by as is_otif,
    delivered_on <= deliver_by
    and not has_failed_delivery
    and not has_fault_return
    and not is_charged_back as is_perfect
from measured
