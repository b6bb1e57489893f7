{{ config(materialized='table') }}
with orders as (
    select
        customer_id,
        min(ordered_on) as first_order_on,
        max(ordered_on) as last_order_on,
        count(*) as order_count,
        sum(units) as units,
        sum(net_sales) as net_sales
    from {{ ref('fct_orders') }}
    where status <> 'cancelled'
    group by customer_id
),

measured as (
    select
        *,
        {{ days_between('last_order_on', business_date()) }} as days_since_last_order
    from orders
),

cuts as (
    select
    {% for share in [20, 40, 60, 80] %}
        {{ quantile('-days_since_last_order', share / 100) }} as recency_{{ share }},
        {{ quantile('order_count', share / 100) }} as frequency_{{ share }},
        {{ quantile('net_sales', share / 100) }} as monetary_{{ share }}{{ ',' if not loop.last }}
    {% endfor %}
    from measured
),

scored as (
    select
        measured.*,
    {% for score, value in [
            ('recency', '-measured.days_since_last_order'),
            ('frequency', 'measured.order_count'),
            ('monetary', 'measured.net_sales')
        ] %}
        1
        {%- for share in [20, 40, 60, 80] %}
        + case when {{ value }} > cuts.{{ score }}_{{ share }} then 1 else 0 end
        {%- endfor %} as {{ score }}_score{{ ',' if not loop.last }}
    {% endfor %}
    from measured
    cross join cuts
)

select
    people.id as customer_id,
    people.name as customer_name,
    people.email,
    segments.segment,
    cast(coalesce(scored.order_count, 0) as bigint) as order_count,
    cast(coalesce(scored.units, 0) as bigint) as units,
    cast(coalesce(scored.net_sales, 0) as decimal(18, 2)) as net_sales,
    cast(scored.net_sales / scored.order_count as decimal(18, 2)) as average_order_value,
    scored.days_since_last_order,
    cast(scored.recency_score as integer) as recency_score,
    cast(scored.frequency_score as integer) as frequency_score,
    cast(scored.monetary_score as integer) as monetary_score,
    {{ shop_day('people.created_at') }} as created_on,
    scored.first_order_on,
    scored.last_order_on
from {{ ref('stg_customers') }} as people
left join scored on people.id = scored.customer_id
left join {{ ref('rfm_segments') }} as segments
    on
        scored.recency_score = segments.recency_score
        and floor((scored.frequency_score + scored.monetary_score + 1) / 2.0) = segments.value_score
where people._op <> 'D'
