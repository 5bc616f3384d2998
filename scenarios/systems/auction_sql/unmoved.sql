SELECT count(*) FROM lots WHERE starts_with(title, $1) AND state = 'bidding'
