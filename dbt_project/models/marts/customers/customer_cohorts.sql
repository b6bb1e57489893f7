{{ config(materialized='table') }}
-- Customers by the month of their first order, and what they did in each month since; a month in
-- which none came back is there, too.
with buyers as (
    select
        customer_id,
        {{ first_of_month('first_order_on') }} as cohort_month
    from {{ ref('customers') }}
    where first_order_on is not null
),

bought as (
    select
        buyers.cohort_month,
        {{ first_of_month('orders.ordered_on') }} as month,
        count(distinct orders.customer_id) as active_customers,
        count(*) as orders,
        sum(orders.net_sales) as net_sales
    from {{ ref('fct_orders') }} as orders
    inner join buyers on orders.customer_id = buyers.customer_id
    where orders.status <> 'cancelled'
    group by buyers.cohort_month, {{ first_of_month('orders.ordered_on') }}
),

calendar as (
    {{ days_from_to('(select min(cohort_month) from buyers)', business_date()) }}
),

sizes as (
    select
        cohort_month,
        count(*) as customers
    from buyers
    group by cohort_month
),

grid as (
    select
        sizes.cohort_month,
        sizes.customers,
        calendar.day as month,
        (extract(year from calendar.day) - extract(year from sizes.cohort_month)) * 12
        + extract(month from calendar.day) - extract(month from sizes.cohort_month)
            as months_since
    from sizes
    inner join calendar
        on sizes.cohort_month <= calendar.day and extract(day from calendar.day) = 1
)

select
    grid.cohort_month,
    grid.month,
    cast(grid.months_since as integer) as months_since,
    cast(grid.customers as bigint) as customers,
    cast(coalesce(bought.active_customers, 0) as bigint) as active_customers,
    cast(coalesce(bought.orders, 0) as bigint) as orders,
    cast(coalesce(bought.net_sales, 0) as decimal(18, 2)) as net_sales,
    {{ rate('coalesce(bought.active_customers, 0)', 'grid.customers') }} as retention_rate,
    cast(
        sum(coalesce(bought.net_sales, 0)) over (
            partition by grid.cohort_month order by grid.month
            rows between unbounded preceding and current row
        ) / grid.customers as decimal(18, 2)
    ) as sales_per_customer
from grid
left join bought on grid.cohort_month = bought.cohort_month and grid.month = bought.month
