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

refunds as (
    select refunds.*
    from {{ ref('stg_refunds') }} as refunds
    inner join touched on refunds.order_id = touched.order_id
    where refunds._op <> 'D'
),

items as (
    select
        items.refund_id,
        sum(case when items.kind = 'line' then items.amount_minor else 0 end) as goods_minor,
        sum(case when items.kind = 'shipping' then items.amount_minor else 0 end) as shipping_minor,
        sum(case when items.kind = 'goodwill' then items.amount_minor else 0 end) as goodwill_minor
    from {{ ref('stg_refund_items') }} as items
    inner join refunds on items.refund_id = refunds.id
    where items._op <> 'D'
    group by items.refund_id
)

select
    refunds.id as refund_id,
    refunds.order_id,
    orders.number as order_number,
    orders.channel,
    refunds.payment_id,
    payments.gateway,
    payments.method,
    refunds.return_id,
    refunds.status,
    refunds.destination,
    refunds.reason,
    refunds.requested_at,
    {{ shop_day('refunds.refunded_at') }} as refunded_on,
    {{ money(base_minor('refunds.amount_minor', 'orders')) }} as amount,
    {{ money(base_minor('coalesce(items.goods_minor, 0)', 'orders')) }} as goods,
    {{ money(base_minor('coalesce(items.shipping_minor, 0)', 'orders')) }} as shipping,
    {{ money(base_minor('coalesce(items.goodwill_minor, 0)', 'orders')) }} as goodwill,
    {{ hours_between('refunds.requested_at', 'refunds.refunded_at') }} as hours_to_refund
from refunds
inner join {{ ref('stg_orders') }} as orders on refunds.order_id = orders.id and orders._op <> 'D'
inner join {{ ref('stg_payments') }} as payments on refunds.payment_id = payments.id
left join items on refunds.id = items.refund_id
