{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        pre_hook="{{ forget('day', ref('int_touched_payment_days')) }}"
    )
}}
with days as (
    select day from {{ ref('int_touched_payment_days') }}
),

events as (
    select
        days.day,
        payments.gateway,
        payments.method,
        orders.channel,
        events.kind,
        {{ base_minor('events.amount_minor', 'orders') }} as minor
    from {{ ref('stg_payment_events') }} as events
    inner join days on events.occurred_on = days.day
    inner join {{ ref('stg_payments') }} as payments
        on events.payment_id = payments.id and payments._op <> 'D'
    inner join {{ ref('stg_orders') }} as orders
        on payments.order_id = orders.id and orders._op <> 'D'
    where events._op <> 'D'
),

sums as (
    select
        day,
        gateway,
        method,
        channel,
        count(case when kind = 'authorised' then 1 end) as authorisations,
        count(case when kind = 'captured' then 1 end) as captures,
        count(case when kind in ('refunded', 'credited') then 1 end) as refunds,
        count(case when kind = 'failed' then 1 end) as failures,
        count(case when kind = 'charged_back' then 1 end) as charge_backs,
        sum(case when kind = 'authorised' then minor else 0 end) as authorised_minor,
        sum(case when kind = 'captured' then minor else 0 end) as captured_minor,
        sum(case when kind in ('refunded', 'credited') then minor else 0 end) as refunded_minor,
        sum(case when kind = 'voided' then minor else 0 end) as voided_minor,
        sum(
            case
                when kind = 'charged_back' then minor
                when kind = 'charge_back_reversed' then -minor
                else 0
            end
        ) as charged_back_minor
    from events
    group by day, gateway, method, channel
)

select
    day,
    gateway,
    method,
    channel,
    {%- for column in ['authorisations', 'captures', 'refunds', 'failures', 'charge_backs'] %}
    cast({{ column }} as bigint) as {{ column }},
    {%- endfor %}
    {%- for column in ['authorised', 'captured', 'refunded', 'voided', 'charged_back'] %}
    {{ money(column ~ '_minor') }} as {{ column }},
    {%- endfor %}
    {{ rate('failures', 'failures + authorisations + captures') }} as payment_failure_rate
from sums
