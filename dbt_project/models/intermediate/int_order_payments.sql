{{ config(materialized='view') }}
-- What was authorised, captured, refunded and voided of each touched order: in minor units of its own
-- currency, and of the base currency at its rate. What went into the customer's credit is refunded;
-- what was given up since it was authorised is not authorised any more.
select
    payments.order_id,
    cast(
        sum(
            case
                when
                    payments.authorised_minor
                    > payments.amount_minor - coalesce(payments.voided_minor, 0)
                    then payments.amount_minor - coalesce(payments.voided_minor, 0)
                else coalesce(payments.authorised_minor, 0)
            end
        ) as bigint
    ) as authorised_minor,
    cast(sum(payments.captured_minor) as bigint) as captured_minor,
    cast(sum(payments.refunded_minor + coalesce(payments.credited_minor, 0)) as bigint)
        as refunded_minor,
    cast(sum(payments.voided_minor) as bigint) as voided_minor,
    cast(sum(coalesce(payments.charged_back_minor, 0)) as bigint) as charged_back_minor,
    cast(sum({{ base_minor('payments.captured_minor', 'orders') }}) as bigint)
        as base_captured_minor,
    cast(
        sum(
            {{ base_minor('payments.refunded_minor + coalesce(payments.credited_minor, 0)', 'orders') }}
        ) as bigint
    ) as base_refunded_minor
from {{ ref('stg_payments') }} as payments
inner join {{ ref('int_touched_orders') }} as touched on payments.order_id = touched.order_id
inner join {{ ref('stg_orders') }} as orders on payments.order_id = orders.id
where payments._op <> 'D'
group by payments.order_id
