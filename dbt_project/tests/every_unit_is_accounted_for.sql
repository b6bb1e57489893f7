select order_line_id
from {{ brought(ref('fct_order_lines')) }}
where quantity <> allocated + backordered + shipped + cancelled or returned > shipped
