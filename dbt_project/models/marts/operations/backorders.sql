{{ config(materialized='table') }}
with waiting as (
    select
        lines.*,
        staged.promised_on,
        {{ days_between('lines.ordered_on', business_date()) }} as age_days
    from {{ ref('fct_order_lines') }} as lines
    inner join {{ ref('stg_order_lines') }} as staged on lines.order_line_id = staged.id
    where lines.backordered > 0 and staged.backordered > 0
)

select
    order_line_id,
    order_id,
    order_number,
    customer_id,
    warehouse,
    channel,
    sku_id,
    sku,
    sku_name,
    category,
    ordered_on,
    promised_on,
    backordered,
    cast(backordered * unit_price as decimal(18, 2)) as backordered_value,
    age_days,
    case
        when age_days <= 2 then 'up to 2 days'
        when age_days <= 7 then '3 to 7 days'
        when age_days <= 14 then '8 to 14 days'
        else 'over 14 days'
    end as age_group,
    coalesce(promised_on < {{ business_date() }}, false) as is_overdue
from waiting
