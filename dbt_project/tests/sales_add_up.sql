-- Net sales are gross less discounts less returns in every row, margin is what is left after cost,
-- and the days' sums are the lines'.
with by_category as (
    select
        coalesce(sum(gross_sales), 0) as gross_sales,
        coalesce(sum(discounts), 0) as discounts,
        coalesce(sum(returns), 0) as returns,
        coalesce(sum(cost), 0) as cost,
        count(
            case
                when net_sales <> gross_sales - discounts - returns
                    or gross_margin <> net_sales - cost then 1
            end
        ) as wrong_rows
    from {{ ref('sales_daily') }}
),

by_sku as (
    select
        coalesce(sum(gross_sales), 0) as gross_sales,
        coalesce(sum(discounts), 0) as discounts,
        coalesce(sum(returns), 0) as returns,
        coalesce(sum(cost), 0) as cost,
        coalesce(sum(tax), 0) as tax,
        count(
            case
                when net_sales <> gross_sales - discounts - returns
                    or gross_margin <> net_sales - cost then 1
            end
        ) as wrong_rows
    from {{ ref('sku_sales_daily') }}
),

by_order as (
    select
        coalesce(sum(gross_sales), 0) as gross_sales,
        coalesce(sum(discounts), 0) as discounts,
        coalesce(sum(returns), 0) as returns,
        count(case when net_sales <> gross_sales - discounts - returns then 1 end) as wrong_rows
    from {{ ref('orders_daily') }}
),

lines as (
    select
        coalesce(sum(gross_sales), 0) as gross_sales,
        coalesce(sum(discounts), 0) as discounts,
        coalesce(sum(cost), 0) as cost,
        coalesce(sum(tax), 0) as tax,
        count(case when gross_margin <> gross_sales - discounts - cost then 1 end) as wrong_rows
    from {{ ref('fct_order_lines') }}
),

refunds as (
    select coalesce(sum(returned_sales), 0) as returns
    from {{ ref('fct_returns') }}
    where refunded_on is not null
)

select
    lines.gross_sales,
    by_category.gross_sales as gross_sales_by_category,
    by_sku.gross_sales as gross_sales_by_sku,
    by_order.gross_sales as gross_sales_by_order,
    lines.discounts,
    by_category.discounts as discounts_by_category,
    by_sku.discounts as discounts_by_sku,
    by_order.discounts as discounts_by_order,
    refunds.returns,
    by_category.returns as returns_by_category,
    by_sku.returns as returns_by_sku,
    by_order.returns as returns_by_order,
    lines.cost,
    by_category.cost as cost_by_category,
    by_sku.cost as cost_by_sku,
    lines.tax,
    by_sku.tax as tax_by_sku,
    by_category.wrong_rows + by_sku.wrong_rows + by_order.wrong_rows + lines.wrong_rows as wrong_rows
from by_category
cross join by_sku
cross join by_order
cross join lines
cross join refunds
where
    by_category.wrong_rows + by_sku.wrong_rows + by_order.wrong_rows + lines.wrong_rows > 0
    or by_category.gross_sales <> lines.gross_sales
    or by_category.discounts <> lines.discounts
    or by_category.cost <> lines.cost
    or by_category.returns <> refunds.returns
    or by_sku.gross_sales <> lines.gross_sales
    or by_sku.discounts <> lines.discounts
    or by_sku.cost <> lines.cost
    or by_sku.tax <> lines.tax
    or by_sku.returns <> refunds.returns
    or by_order.gross_sales <> lines.gross_sales
    or by_order.discounts <> lines.discounts
    or by_order.returns <> refunds.returns
