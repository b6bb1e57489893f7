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

payments as (
    select payments.*
    from {{ ref('stg_payments') }} as payments
    inner join touched on payments.order_id = touched.order_id
    where payments._op <> 'D'
),

events as (
    select
        events.payment_id,
        min(case when events.kind = 'authorised' then events.occurred_at end) as authorised_at,
        min(case when events.kind = 'captured' then events.occurred_at end) as captured_at,
        count(case when events.kind = 'failed' then 1 end) as failures
    from {{ ref('stg_payment_events') }} as events
    inner join payments on events.payment_id = payments.id
    where events._op <> 'D'
    group by events.payment_id
),

failures as (
    select
        operations.payment_id,
        operations.code,
        row_number() over (
            partition by operations.payment_id order by operations.id desc
        ) as recency
    from {{ ref('stg_payment_operations') }} as operations
    inner join payments on operations.payment_id = payments.id
    where operations._op <> 'D' and operations.status = 'failed'
)

select
    payments.id as payment_id,
    payments.order_id,
    orders.number as order_number,
    orders.channel,
    warehouses.warehouse,
    payments.gateway,
    payments.method,
    payments.currency,
    case
        when payments.charged_back_minor > 0 then 'charged_back'
        when payments.captured_minor > 0
            and payments.refunded_minor + coalesce(payments.credited_minor, 0)
            >= payments.captured_minor then 'refunded'
        when payments.refunded_minor + coalesce(payments.credited_minor, 0) > 0
            then 'partly_refunded'
        when payments.captured_minor > 0
            and payments.captured_minor + payments.voided_minor >= payments.amount_minor
            then 'captured'
        when payments.captured_minor > 0 then 'partly_captured'
        when payments.voided_minor > 0 then 'voided'
        when payments.authorised_minor > 0 then 'authorised'
        when events.failures > 0 then 'failed'
        else 'open'
    end as status,
    failures.code as failure_code,
    {{ shop_day('payments.created_at') }} as created_on,
    payments.due_on,
    events.authorised_at,
    events.captured_at,
    {{ money(base_minor('payments.amount_minor', 'orders')) }} as amount,
    {{ money(base_minor('coalesce(payments.authorised_minor, 0)', 'orders')) }} as authorised,
    {{ money(base_minor('payments.captured_minor', 'orders')) }} as captured,
    {{ money(base_minor('payments.refunded_minor', 'orders')) }} as refunded,
    {{ money(base_minor('coalesce(payments.credited_minor, 0)', 'orders')) }} as credited,
    {{ money(base_minor('payments.voided_minor', 'orders')) }} as voided,
    {{ money(base_minor('coalesce(payments.charged_back_minor, 0)', 'orders')) }} as charged_back,
    cast(coalesce(events.failures, 0) as integer) as failures,
    {{ hours_between('events.authorised_at', 'events.captured_at') }} as hours_to_capture
from payments
inner join {{ ref('stg_orders') }} as orders on payments.order_id = orders.id and orders._op <> 'D'
inner join {{ ref('dim_warehouses') }} as warehouses
    on orders.warehouse_id = warehouses.warehouse_id
left join events on payments.id = events.payment_id
left join failures on payments.id = failures.payment_id and failures.recency = 1
