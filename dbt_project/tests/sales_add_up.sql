-- Net sales are gross less discounts less returns in every row, and the days' sums are the lines'.
with daily as (
    select
        sum(gross_sales) as gross_sales,
        sum(discounts) as discounts,
        sum(returns) as returns,
        count(case when net_sales <> gross_sales - discounts - returns then 1 end) as wrong_rows
    from {{ ref('sales_daily') }}
),

orders as (
    select
        sum(gross_sales) as gross_sales,
        sum(discounts) as discounts,
        sum(returns) as returns
    from {{ ref('orders_daily') }}
),

lines as (
    select
        sum(gross_sales) as gross_sales,
        sum(discounts) as discounts
    from {{ ref('fct_order_lines') }}
),

refunds as (
    select coalesce(sum(refund), 0) as returns
    from {{ ref('fct_returns') }}
    where refunded_on is not null
)

select daily.*
from daily
cross join orders
cross join lines
cross join refunds
where
    daily.wrong_rows > 0
    or daily.gross_sales <> lines.gross_sales
    or daily.discounts <> lines.discounts
    or daily.returns <> refunds.returns
    or orders.gross_sales <> lines.gross_sales
    or orders.discounts <> lines.discounts
    or orders.returns <> refunds.returns
