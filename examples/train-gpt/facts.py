"""What the small model knows: our own sentences about the network, energy and the cities of France."""

ASK_TERM = (
    "What is {}?",
    "What does {} mean?",
    "Tell me about {}.",
    "Can you explain {}?",
    "Please define {}.",
    "Explain {} to me.",
    "I do not know what {} is.",
    "Do you know what {} is?",
    "So what is {}?",
)

TERMS = {
    "maillage": "is a network of AI campuses. You ask once, and it decides where and when your work runs.",
    "a network": "is several sites that share their work under one scheduler.",
    "a site": "is one place with machines, power and cooling. It has its own limit from the grid.",
    "a campus": "is a large site with many halls of machines.",
    "a pool": "is a group of equal nodes at one site.",
    "a node": "is one server with its accelerators, processors and memory.",
    "an accelerator": "is a chip that does the heavy work of a model, such as a GPU.",
    "a job": "is work that starts, runs and ends, such as a training run.",
    "a gang": "is a group of workers that start together or not at all.",
    "a worker": "is one process of a job. It has its own rank.",
    "a rank": "is the number of a worker in its gang, counted from zero.",
    "a queue": "is the line of jobs that wait for their turn.",
    "a scheduler": "decides which job starts next, and where.",
    "backfill": "lets a small job start early when it delays nobody ahead of it.",
    "a reservation": "is a place in time that is kept for a job that waits.",
    "preemption": "stops a flexible job so that a more urgent one can run.",
    "a lease": "is a promise that a site holds a run for some time.",
    "a checkpoint": "is the saved state of a job. After a stop the job goes on from there.",
    "an endpoint": "is a model that answers questions over the network.",
    "a replica": "is one running copy of a model behind an endpoint.",
    "the gateway": "takes each request and sends it to a healthy replica.",
    "a token": "is a small piece of text. A model reads and writes tokens.",
    "a model": "is a large set of numbers that turns a question into an answer.",
    "training": "changes the numbers of a model until its answers are right.",
    "inference": "is the use of a model after its training.",
    "a gradient": "says how each number of a model should change to lower the loss.",
    "the loss": "measures how wrong a model still is. Lower is better.",
    "a credit": "is what a job pays for its time on the machines.",
    "a receipt": "says where a job ran, how long, and what it cost in credits, energy and carbon.",
    "fair share": "gives each organisation its part of the machines over time.",
    "priority": "says which of two jobs goes first.",
    "the log": "keeps every event in order. From it the network can be built again.",
    "an artifact": "is a file that is named by its content and can travel between sites.",
    "a digital twin": "runs the same decisions on a simulated clock, so that you can plan ahead.",
    "the grid": "brings power from where it is made to where it is used.",
    "a grid connection": "sets how much power a site may draw at once.",
    "curtailment": "means that a site draws less power because the grid asks for it.",
    "carbon intensity": "is how many grams of carbon dioxide stand behind one kilowatt hour.",
    "a tariff": "is the price of power at each hour.",
    "a kilowatt hour": "is the energy of one kilowatt for one hour.",
    "a megawatt": "is one million watts.",
    "PUE": "is the power of the whole site divided by the power of its computers.",
    "a dry cooler": "gives heat to the air with fans and uses no water.",
    "a residency": "is a rule that keeps data and work in one country.",
    "a deadline": "is the moment by which a job must be done.",
}

# For each source: how it works, when it is strong, whether it is clean.
ASK_ENERGY = (
    ("What is {}?", "How does {} work?", "How is {} made?", "Explain {}.", "Tell me about {}."),
    ("When is {} strong?", "When do we have much {}?", "When does {} help?"),
    ("Is {} clean?", "Is {} low in carbon?", "How much carbon does {} make?", "Is {} green?"),
)

ENERGY = {
    "solar power": (
        "Solar power turns the light of the sun into electricity.",
        "Solar power is strong at noon and in summer.",
        "Yes, solar power is low in carbon.",
    ),
    "wind power": (
        "Wind power turns moving air into electricity with large blades.",
        "Wind power is strong in autumn and winter, when the wind blows.",
        "Yes, wind power is low in carbon.",
    ),
    "hydro power": (
        "Hydro power lets falling water turn a wheel that makes electricity.",
        "Hydro power is strong in spring, when the snow melts.",
        "Yes, hydro power is low in carbon.",
    ),
    "nuclear power": (
        "Nuclear power makes steam with the heat of split atoms.",
        "Nuclear power is there by day and by night.",
        "Yes, nuclear power is low in carbon.",
    ),
    "gas power": (
        "Gas power burns gas to turn a turbine.",
        "Gas power helps on cold evenings, when much power is needed.",
        "No, gas power makes much carbon.",
    ),
    "coal power": (
        "Coal power burns coal to make steam.",
        "Coal power helps only when nothing else is left.",
        "No, coal power makes the most carbon of all.",
    ),
    "battery power": (
        "Battery power stores electricity and gives it back later.",
        "Battery power helps in the evening, when the sun is gone.",
        "Battery power is as clean as the electricity that filled it.",
    ),
}

# For each city: all of it, its part of the country, its water, its fame.
ASK_CITY = (
    ("Tell me about {}.", "What is {}?", "Do you know {}?", "Describe {}."),
    ("Where is {}?", "Where can I find {}?", "In which part of France is {}?", "Where does {} lie?"),
    ("Which water is near {}?", "Is {} on a river?", "What flows by {}?", "What water has {}?"),
    ("What is {} known for?", "Why is {} famous?", "What can I see in {}?", "What has {}?"),
)

CITIES = {
    "Paris": ("north", "Seine", "its museums and its iron tower"),
    "Marseille": ("south", "Mediterranean Sea", "its old port"),
    "Lyon": ("east", "Rhone", "its good food"),
    "Toulouse": ("south", "Garonne", "its aircraft"),
    "Nice": ("south", "Mediterranean Sea", "its walk by the sea"),
    "Nantes": ("west", "Loire", "its great mechanical elephant"),
    "Strasbourg": ("east", "Rhine", "its tall cathedral"),
    "Bordeaux": ("west", "Garonne", "its wine"),
    "Lille": ("north", "Deule", "its big street market"),
    "Rennes": ("west", "Vilaine", "its old wooden houses"),
    "Grenoble": ("east", "Isere", "its mountains and its science"),
    "Mulhouse": ("east", "Ill", "its museum of cars"),
    "Dijon": ("east", "Ouche", "its mustard"),
    "Reims": ("north", "Vesle", "its champagne"),
    "Toulon": ("south", "Mediterranean Sea", "its ships"),
    "Brest": ("west", "Atlantic Ocean", "its harbour"),
    "Metz": ("east", "Moselle", "its bright cathedral windows"),
    "Nancy": ("east", "Meurthe", "its golden gates"),
    "Orleans": ("centre", "Loire", "the story of Joan of Arc"),
    "Rouen": ("north", "Seine", "its painted cathedral"),
    "Tours": ("centre", "Loire", "the castles around it"),
    "Angers": ("west", "Maine", "its castle with black walls"),
    "Caen": ("north", "Orne", "its two abbeys"),
    "Montpellier": ("south", "Lez", "its old school of medicine"),
}

ASK_STORY = ("Tell me a story about {} in {}.", "A story about {} in {}, please.", "What did {} do in {}?")

STORIES = {
    "a job": "A job waited in {city}. At night the wind blew and power was cheap. The job "
    "started by the {water}, and it was done before the sun came up.",
    "a student": "A student came to {city} with an idea. She trained a small model by the {water}. "
    "In the morning it could talk, and she laughed.",
    "a battery": "A battery in {city} was full of sun. When the evening came and the grid was tense, "
    "it gave its power back, and the lights by the {water} stayed on.",
    "a model": "A model woke up in {city}. It knew only a few words. It read all night, and in the end it "
    "could say why it loved the {water}.",
    "an engineer": "An engineer in {city} pulled out a cable by mistake. The job moved to another "
    "site and went on from its checkpoint. The engineer walked by the {water} and slept well.",
}

QUESTIONS = (
    (
        (
            "Hello!",
            "Hello",
            "Hi!",
            "Good morning!",
            "Hey there!",
            "Good evening!",
            "Hi, model!",
            "Hello, model!",
        ),
        "Hello! Ask me about jobs, sites, energy or the cities of France.",
    ),
    (
        ("How are you?", "How do you do?", "Are you well?", "How are you today?", "How is it going?"),
        "I am well, thank you. My loss is low.",
    ),
    (
        (
            "Who are you?",
            "What are you?",
            "What is your name?",
            "Tell me about you.",
            "Introduce yourself.",
            "Are you a model?",
            "Who am I talking to?",
        ),
        "I am a small language model. Two workers trained me in half a minute on maillage.",
    ),
    (
        (
            "Who made you?",
            "Who trained you?",
            "Where do you come from?",
            "How were you trained?",
            "How were you made?",
        ),
        "A gang of two workers trained me from nothing, on text that comes with the example.",
    ),
    (
        (
            "What can you do?",
            "What do you know?",
            "What can I ask?",
            "What can I ask you?",
            "What should I ask you?",
            "What can you tell me?",
            "What can you talk about?",
            "Please help me.",
            "How can you help me?",
            "Can you help me?",
            "Help!",
        ),
        "I can tell you about jobs, sites, energy and the cities of France, and I can tell a story.",
    ),
    (
        ("Thank you!", "Thanks!", "Thank you very much!", "Thanks a lot!", "Great, thanks!"),
        "You are welcome.",
    ),
    (
        ("Goodbye!", "Bye!", "See you!", "Good night!", "See you soon!", "See you later!", "Goodbye, model!"),
        "Goodbye! May your jobs start early.",
    ),
    (
        (
            "Why does my job wait?",
            "Why is my job waiting?",
            "Why does my job not start?",
            "My job does not start.",
            "Why is my job not running?",
        ),
        "Ask maillage job why. It names the first limit that binds and when your job will start.",
    ),
    (
        (
            "How do I start maillage?",
            "How do I start the network?",
            "How can I start maillage?",
            "How do I begin?",
        ),
        "Type maillage up. It starts the whole network in one process.",
    ),
    (
        ("How do I submit a job?", "How do I run a job?", "How can I send a job?", "How do I start a job?"),
        "Write a small file and type maillage run with its name.",
    ),
    (
        ("How do I see my jobs?", "How can I list my jobs?", "Where are my jobs?", "Show me my jobs."),
        "Type maillage job list.",
    ),
    (
        ("How do I stop a job?", "How can I cancel a job?", "How do I cancel my job?", "Stop my job."),
        "Type maillage job cancel with the name of the job.",
    ),
    (
        ("How do I read the logs?", "Where are the logs of my job?", "How can I see the output of my job?"),
        "Type maillage job logs with the name of the job.",
    ),
    (
        (
            "How do I deploy a model?",
            "How can I serve a model?",
            "How do I make an endpoint?",
            "How do I serve my model?",
        ),
        "Write an endpoint with the model in it and type maillage endpoint deploy.",
    ),
    (
        (
            "What happens when a site is cut off?",
            "What if a site is lost?",
            "What happens if a site goes away?",
            "What if the cable is cut?",
        ),
        "Its jobs go on from their last checkpoint at another site.",
    ),
    (
        (
            "Where does my job run?",
            "Where will my job run?",
            "Which site runs my job?",
            "Who decides where my job runs?",
        ),
        "The scheduler takes the site that fits, by start time, carbon, price and data.",
    ),
    (
        (
            "When is power clean?",
            "When is the power green?",
            "When is carbon low?",
            "When should I run my job?",
        ),
        "Power is clean when sun, wind, water and nuclear carry the grid.",
    ),
    (
        ("How big is the network?", "How large is the network?", "How much power has the network?"),
        "It begins with one laptop and is planned up to three gigawatts.",
    ),
    (
        (
            "What is the capital of France?",
            "Which city is the capital of France?",
            "Name the capital of France.",
        ),
        "The capital of France is Paris.",
    ),
)
