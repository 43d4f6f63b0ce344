"""Made-up news and their summaries, for the tiny BARTs: what they are trained on, and, with other
seeds, what they are tested with.

A summary copies names and numbers from its story and changes the words around them. Some of those
words, and where it ends, are drawn by chance: several summaries are about as good, and beams have
something to choose from. Stories of goals and of shares repeat themselves, so that a ban of n-grams
has something to do.
"""

CITIES = ["Marlow", "Denby", "Port Elsa", "Lindau", "Oster", "Halden", "Carrow", "Vale", "Brenna",
          "Tolm", "Sankt Jor", "Rivona"]
NAMES = ["Harris", "Silva", "Moreno", "Okafor", "Lund", "Petrov", "Adler", "Kim", "Rossi", "Brandt",
         "Tanaka", "Novak", "Costa", "Weber", "Diaz", "Hall"]
FIRMS = ["Acme", "Norvik", "Tellus", "Orion Rail", "Bluewater", "Kestrel", "Solano Foods", "Vantor"]
TEAMS = ["Rovers", "United", "City", "Wanderers", "Athletic", "Lions", "Harbour", "Albion"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
PLANS = ["close the old bridge", "build a new school", "open the market hall", "plant 500 trees",
         "raise the price of water", "move the bus station", "repair the harbour wall"]
ROLES = ["engineer", "teacher", "nurse", "driver", "baker", "doctor"]
FILLERS = ["Nobody was hurt.", "The weather was mild.", "More is expected later this week.",
           "Local radio reported it first.", "Many people came to watch.", "The road stayed open.",
           "It was the first time in ten years.", "Police asked drivers to take care.",
           "Shops in the centre were closed.", "Officials did not comment."]


def some(rng, first, *others):
    """The first, more often than not."""
    return first if rng.random() < 0.6 else rng.choice(others)


def maybe(rng, text):
    return text if rng.random() < 0.6 else ""


def council(rng):
    city, name, plan, day = (rng.choice(x) for x in (CITIES, NAMES, PLANS, DAYS))
    cost, months = f"{rng.randint(1, 90)}.{rng.randint(1, 9)}", rng.randint(2, 30)
    return (f"The council of {city} voted on {day} to {plan}. Mayor {name} said the work would "
            f"cost {cost} million and take {months} months.",
            f"{city} {some(rng, 'votes to', 'will', 'agrees to')} {plan}." +
            maybe(rng, f" Mayor {name}: it will cost {cost} million."))


def match(rng):
    (home, away), day = rng.sample(TEAMS, 2), rng.choice(DAYS)
    goals = [rng.choice(NAMES) for _ in range(rng.randint(1, 4))]
    lost = rng.randint(0, len(goals) - 1)
    verb = rng.choice(["beat", "won against"])
    scorers = ", ".join(f"a goal by {name}" for name in goals)
    return (f"{home} {verb} {away} {len(goals)}-{lost} on {day} evening after {scorers}.",
            f"{home} {some(rng, 'beat', 'win against')} {away} {len(goals)}-{lost}" +
            maybe(rng, f" with {scorers}") + ".")


def storm(rng):
    city, day, count = rng.choice(CITIES), rng.choice(DAYS), rng.randint(2, 400)
    kind = rng.choice(["A storm", "A flood", "A fire", "Heavy snow"])
    return (f"{kind} reached {city} on {day}, and {count} people had to leave their homes. Schools "
            f"will stay closed until {rng.choice(DAYS)}.",
            f"{kind} {some(rng, 'hits', 'reaches')} {city}: {count} "
            f"{some(rng, 'people leave their homes', 'had to leave')}.")


def shares(rng):
    firm, percent, other = rng.choice(FIRMS), rng.randint(2, 60), rng.randint(1, 20)
    way = rng.choice(["rose", "fell"])
    after = rng.choice(["rose", "fell"])
    return (f"Profits of {firm} {way} by {percent} percent last year. Shares of {firm} {after} by "
            f"{other} percent on {rng.choice(DAYS)}, said {rng.choice(NAMES)}, who leads {firm}.",
            f"Profits of {firm} {way} by {percent} percent" +
            maybe(rng, f", shares of {firm} {after} by {other} percent") + ".")


def prize(rng):
    name, role, city, year = (rng.choice(NAMES), rng.choice(ROLES), rng.choice(CITIES),
                              rng.randint(1950, 2025))
    amount = rng.randint(2, 99)
    return (f"{name}, a {role} from {city}, won {amount} thousand in the lottery with a ticket "
            f"bought in {year}.",
            f"{some(rng, f'{city} {role} {name}', name)} wins {amount} thousand" +
            maybe(rng, f" with a ticket of {year}") + ".")


KINDS = [council, match, storm, shares, prize]


def article(rng, most_stories=2):
    """One to most_stories stories with other sentences between them, and their summaries."""
    text, summary = [], []
    for _ in range(rng.randint(1, most_stories)):
        story, short = rng.choice(KINDS)(rng)
        text.append(story)
        summary.append(short)
        text += rng.sample(FILLERS, rng.randint(0, 2))
    if rng.random() < 0.2:
        text.insert(0, rng.choice(FILLERS))
    return " ".join(text), " ".join(summary)
