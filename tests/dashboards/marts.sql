-- Marts that follow from the simulated facts (schema raw), with the columns of the published ones.
CREATE SCHEMA marts;

CREATE TABLE marts.dim_skus AS
SELECT sku_id, sku, sku_name, department, category, brand, pack_size, is_active,
       money(unit_price) AS unit_price, money(unit_cost) AS unit_cost, supplier, supplier_name,
       CAST(lead_time_days AS integer) AS lead_time_days, CAST(review_days AS integer) AS review_days,
       moq, pack_multiple
FROM raw.skus;

CREATE TABLE marts.dim_warehouses AS
SELECT row_number() OVER (ORDER BY warehouse) AS warehouse_id, warehouse, warehouse_name, city,
       'NA' AS region, 'US' AS country
FROM raw.warehouses;

CREATE TABLE marts.fct_order_lines AS
SELECT order_line_id, order_id, order_number, CAST(line_no AS integer) AS line_no, ordered_on, sku_id, sku, sku_name, department,
       category, brand, warehouse, channel, 'US' AS country, customer_id, order_status, 'USD' AS currency, quantity,
       money(unit_price) AS unit_price, money(gross_sales) AS gross_sales,
       money(discounts) AS discounts, money(0) AS tax, money(cost) AS cost, money(gross_margin) AS gross_margin,
       quantity - cancelled - backordered AS filled_at_once, allocated, backordered, shipped, cancelled, returned
FROM raw.lines;

CREATE TABLE marts.fct_returns AS
SELECT return_line_id, return_id, return_number, order_id, order_number, order_line_id, sku_id, sku,
       sku_name, department, category, warehouse, channel, 'US' AS country, reason,
       replace(reason, ' ', '_') AS reason_code, disposition, quantity, money(0) AS fee,
       money(refund) AS refund, money(refund) AS returned_sales, refunded_on, received_on, status
FROM raw.returns;

CREATE TABLE marts.fct_orders AS
WITH sums AS (
    SELECT order_id, CAST(count(*) AS integer) AS line_count, CAST(sum(quantity - cancelled) AS bigint) AS units,
           sum(gross_sales) AS gross_sales, sum(discounts) AS discounts,
           sum(allocated) AS allocated, CAST(sum(backordered) AS bigint) AS backordered_units,
           sum(shipped) AS shipped
    FROM raw.lines GROUP BY order_id
), refunds AS (
    SELECT order_id, sum(refund) AS refund FROM raw.returns GROUP BY order_id
)
SELECT o.order_id, o.order_number, o.external_id, o.channel, o.customer_id, o.warehouse,
       CASE WHEN o.status = 'cancelled' THEN 'cancelled'
            WHEN s.allocated + s.backordered_units > 0 THEN 'open' ELSE 'closed' END AS status,
       CASE WHEN o.status = 'cancelled' THEN 'voided' WHEN r.refund > 0 THEN 'partly_refunded'
            ELSE 'paid' END AS payment_status,
       CASE WHEN o.status = 'cancelled' THEN 'cancelled'
            WHEN s.shipped > 0 AND s.allocated + s.backordered_units > 0 THEN 'partly_shipped'
            WHEN s.shipped > 0 THEN 'delivered' WHEN s.backordered_units > 0 THEN 'backordered'
            ELSE 'allocated' END AS fulfilment_status,
       o.placed_at, o.ordered_on, o.ordered_on + 4 AS deliver_by, s.line_count, s.units,
       money(s.gross_sales) AS gross_sales, money(s.discounts) AS discounts,
       'USD' AS currency, money(0) AS cancelled_total,
       money(o.shipping) AS shipping, money(0) AS tax,
       money(s.gross_sales - s.discounts + o.shipping) AS order_total,
       money(coalesce(r.refund, 0)) AS returns,
       money(s.gross_sales - s.discounts - coalesce(r.refund, 0)) AS net_sales,
       money(CASE WHEN o.status = 'cancelled' THEN 0
                  ELSE s.gross_sales - s.discounts + o.shipping END) AS captured,
       money(coalesce(r.refund, 0)) AS refunded,
       CASE WHEN s.shipped > 0 THEN o.placed_at + INTERVAL 20 HOUR END AS first_shipped_at,
       CASE WHEN s.shipped > 0 THEN o.placed_at + INTERVAL 3 DAY END AS delivered_at,
       s.backordered_units, CASE WHEN s.shipped > 0 THEN CAST(20 AS double) END AS hours_to_ship
FROM raw.orders AS o
JOIN sums AS s ON s.order_id = o.order_id
LEFT JOIN refunds AS r ON r.order_id = o.order_id;

CREATE TABLE marts.sales_daily AS
WITH sold AS (
    SELECT ordered_on AS day, department, category, warehouse, channel,
           sum(quantity - cancelled) AS units, count(*) AS order_lines,
           sum(gross_sales) AS gross_sales, sum(discounts) AS discounts, 0 AS returns,
           sum(cost) AS cost
    FROM raw.lines GROUP BY ALL
), refunded AS (
    SELECT refunded_on, department, category, warehouse, channel, 0, 0, 0, 0, sum(refund), 0
    FROM raw.returns GROUP BY ALL
), both_ways AS (SELECT * FROM sold UNION ALL SELECT * FROM refunded)
SELECT day, department, category, warehouse, channel, CAST(sum(units) AS bigint) AS units,
       CAST(sum(order_lines) AS bigint) AS order_lines, money(sum(gross_sales)) AS gross_sales,
       money(sum(discounts)) AS discounts, money(sum(returns)) AS returns,
       money(sum(gross_sales - discounts - returns)) AS net_sales, money(sum(cost)) AS cost,
       money(sum(gross_sales - discounts - returns - cost)) AS gross_margin
FROM both_ways GROUP BY ALL;

CREATE TABLE marts.orders_daily AS
WITH placed AS (
    SELECT ordered_on AS day, warehouse, channel, count(*) AS orders,
           count(*) FILTER (status = 'cancelled') AS cancelled_orders,
           count(*) FILTER (backordered_units > 0) AS backordered_orders,
           CAST(sum(units) AS bigint) AS units, sum(gross_sales) AS gross_sales,
           sum(discounts) AS discounts
    FROM marts.fct_orders GROUP BY ALL
), refunded AS (
    SELECT refunded_on AS day, warehouse, channel, sum(refund) AS returns
    FROM marts.fct_returns GROUP BY ALL
)
SELECT p.day, p.warehouse, p.channel, p.orders, p.cancelled_orders, p.backordered_orders, p.units,
       CAST(p.gross_sales AS decimal(18, 2)) AS gross_sales,
       CAST(p.discounts AS decimal(18, 2)) AS discounts,
       CAST(coalesce(r.returns, 0) AS decimal(18, 2)) AS returns,
       CAST(p.gross_sales - p.discounts - coalesce(r.returns, 0) AS decimal(18, 2)) AS net_sales
FROM placed AS p LEFT JOIN refunded AS r
    ON r.day = p.day AND r.warehouse = p.warehouse AND r.channel = p.channel;

CREATE TABLE marts.fct_stock_moves AS
SELECT move_id, occurred_at, moved_on, sku_id, sku, warehouse, reason, reference, quantity_in,
       quantity_out, quantity_change, money(unit_cost) AS unit_cost, money(value_change) AS value_change
FROM raw.moves;

CREATE TABLE marts.stock_daily AS
SELECT day, warehouse, sku_id, sku, opening, received, shipped, returned, adjusted, on_hand,
       money(unit_cost) AS unit_cost, money(stock_value) AS stock_value, is_stocked_out
FROM raw.stock;

CREATE TABLE marts.fct_purchase_order_lines AS
SELECT purchase_order_line_id, purchase_order, supplier, supplier_name, warehouse, sku_id, sku,
       sku_name, source, status, ordered_on, expected_on, first_received_on, last_received_on,
       ordered, received, outstanding, money(unit_cost) AS unit_cost,
       money(outstanding * unit_cost) AS outstanding_value,
       CAST(greatest(0, date_diff('day', expected_on, coalesce(last_received_on, today()))) AS integer)
           AS days_late
FROM raw.purchases;

CREATE TABLE marts.inventory_health AS
WITH demand AS (
    SELECT s.warehouse, s.sku_id, s.day, NOT s.is_stocked_out AS counts, s.is_stocked_out,
           coalesce(sum(l.quantity - l.cancelled), 0) AS units
    FROM raw.stock AS s
    LEFT JOIN raw.lines AS l
        ON l.sku_id = s.sku_id AND l.warehouse = s.warehouse AND l.ordered_on = s.day
    WHERE s.day > today() - INTERVAL 28 DAY GROUP BY ALL
), rates AS (
    SELECT warehouse, sku_id, avg(units) FILTER (counts) AS average_daily_demand,
           coalesce(stddev_samp(units) FILTER (counts), 0) AS demand_standard_deviation,
           CAST(count(*) FILTER (counts) AS integer) AS demand_days,
           CAST(count(*) FILTER (is_stocked_out) AS integer) AS stock_out_days
    FROM demand GROUP BY ALL
), promised AS (
    SELECT warehouse, sku_id, CAST(sum(allocated) AS bigint) AS allocated,
           CAST(sum(backordered) AS bigint) AS backordered, max(ordered_on) AS last_sold_on
    FROM raw.lines GROUP BY ALL
), coming AS (
    SELECT warehouse, sku_id, CAST(sum(outstanding) AS bigint) AS on_order,
           min(expected_on) AS next_expected_on
    FROM raw.purchases WHERE outstanding > 0 GROUP BY ALL
), joined AS (
    SELECT s.warehouse, k.sku_id, k.sku, k.sku_name, k.department, k.category, k.supplier, s.on_hand,
           coalesce(p.allocated, 0) AS allocated, s.on_hand - coalesce(p.allocated, 0) AS available,
           coalesce(p.backordered, 0) AS backordered, coalesce(c.on_order, 0) AS on_order,
           c.next_expected_on, coalesce(r.average_daily_demand, 0) AS average_daily_demand,
           r.demand_standard_deviation, r.demand_days,
           (s.on_hand - coalesce(p.allocated, 0)) / nullif(r.average_daily_demand, 0) AS cover_days,
           k.lead_time_days, r.stock_out_days,
           money(s.unit_cost) AS unit_cost, money(s.stock_value) AS stock_value, p.last_sold_on
    FROM raw.stock AS s
    JOIN raw.skus AS k ON k.sku_id = s.sku_id
    JOIN rates AS r ON r.sku_id = s.sku_id AND r.warehouse = s.warehouse
    LEFT JOIN promised AS p ON p.sku_id = s.sku_id AND p.warehouse = s.warehouse
    LEFT JOIN coming AS c ON c.sku_id = s.sku_id AND c.warehouse = s.warehouse
    WHERE s.day = today()
)
SELECT * EXCLUDE (lead_time_days), CASE WHEN on_hand = 0 THEN 'stocked_out'
               WHEN average_daily_demand = 0 THEN 'dead'
               WHEN cover_days < lead_time_days THEN 'low' WHEN cover_days > 60 THEN 'excess'
               ELSE 'healthy' END AS status
FROM joined;

CREATE TABLE marts.customers AS
WITH sums AS (
    SELECT customer_id, min(ordered_on) AS first_order_on, max(ordered_on) AS last_order_on,
           count(*) AS order_count, CAST(sum(units) AS bigint) AS units, sum(net_sales) AS net_sales
    FROM marts.fct_orders WHERE status <> 'cancelled' GROUP BY customer_id
), aged AS (
    SELECT *, CAST(date_diff('day', last_order_on, today()) AS integer) AS days_since_last_order
    FROM sums
), scored AS (
    SELECT *, CAST(6 - ntile(5) OVER (ORDER BY days_since_last_order) AS integer) AS recency_score,
           CAST(ntile(5) OVER (ORDER BY order_count) AS integer) AS frequency_score,
           CAST(ntile(5) OVER (ORDER BY net_sales) AS integer) AS monetary_score
    FROM aged
)
SELECT c.customer_id, c.customer_name, c.email, coalesce(s.first_order_on, today()) AS created_on,
       s.first_order_on, s.last_order_on, s.days_since_last_order,
       coalesce(s.order_count, 0) AS order_count, coalesce(s.units, 0) AS units,
       CAST(coalesce(s.net_sales, 0) AS decimal(18, 2)) AS net_sales,
       CAST(s.net_sales / s.order_count AS decimal(18, 2)) AS average_order_value,
       s.recency_score, s.frequency_score, s.monetary_score, g.segment
FROM raw.customers AS c LEFT JOIN scored AS s ON s.customer_id = c.customer_id
LEFT JOIN raw.segments AS g ON g.recency_score = s.recency_score
    AND g.value_score = (s.frequency_score + s.monetary_score + 1) // 2;
