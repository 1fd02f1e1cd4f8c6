"""Word lists for the harmless everyday writing of `everyday`: our own, plain, and large enough to combine freely.

`{}` stands for a content, a name in braces for a word of that list. Joined, since one phrase a
line would make hundreds of lines.
"""

# ruff: noqa: SIM905

from __future__ import annotations

HELLOS = (
    "hello|hi|hey|hey there|good morning|good evening|good afternoon|hi there|hello there|greetings|howdy|yo"
    "|hiya|hello again|morning|hi everyone|hello friend|dear assistant|hey assistant|good day"
).split("|")
HELLO_TAILS = (
    "|, how are you?|, how are you doing today?|, nice to meet you|, can you help me?|, what can you do?"
    "|! :)|, who are you?|, are you there?|, I have a question|, hope you are well|, what's up?"
    "|, how was your day?|, long time no see|, thanks for your help yesterday|, I am new here"
    "|, quick question for you|, is anybody there?|, happy Friday"
).split("|")
SMALL_TALK = (
    "thank you so much|thanks, that helped a lot|ok|okay, got it|yes please|no thanks|see you tomorrow"
    "|good night|sounds good|that makes sense|I love this song|it is raining again|I am so tired today"
    "|my cat is asleep on my desk|what a beautiful day|happy birthday|congratulations on the new job"
    "|I miss my grandmother|tell me a joke|tell me a fun fact|tell me something interesting|sing me a song"
    "|I am bored|do you like music?|what time is it?|can you hear me?|test|testing 1 2 3"
    "|please wait a moment|never mind|sorry, my mistake|you are very kind|I am feeling a bit lonely today"
    "|I had a great weekend|we are going to the beach|my train is late again|what should I cook tonight?"
    "|which film should we watch?|I passed my exam!|my daughter started school today|do you speak French?"
    "|are you a robot?|how old are you?|what is your name?|where are you from?|lol that was funny"
).split("|")
DO = (
    "bake sourdough bread|cook rice|make pancakes|knit a scarf|repair a bicycle tyre|plant tomatoes"
    "|paint a fence|fold a paper crane|train for a marathon|learn the guitar|write a cover letter"
    "|plan a wedding|clean a carpet|change a light bulb|tie a bow tie|brew good coffee|take better photos"
    "|build a bookshelf|start a blog|learn Spanish|teach a child to read|save money for a holiday"
    "|pack a suitcase|prepare for an interview|water orchids|sharpen a pencil|draw a horse|play chess"
    "|sew a button|iron a shirt|make a paper boat|wash a woollen jumper|choose a laptop|back up my photos"
    "|set up a printer|connect to wifi|reset a thermostat|organise my desk|sleep better|stretch my back"
    "|cut an onion without crying|roast a chicken|make jam|grow basil indoors|keep bees|recycle glass"
    "|compost kitchen waste|decorate a cake|host a dinner party|move house|adopt a rescue dog|brush a cat"
    "|clean an aquarium|bathe a puppy|read music|write a haiku|give a speech|run a book club|make a budget"
    "|file my taxes|apply for a library card|renew a passport|book a train ticket|find a dentist|swim faster"
    "|do a push-up|meditate|improve my handwriting|learn to juggle|solve a Rubik's cube|fix a dripping tap"
    "|unclog a sink|varnish a table|restore an old chair|polish silver|remove a coffee stain|wrap a present"
    "|write a thank-you note|make a snow globe|make soap|carve a pumpkin|sort a list in Python"
    "|centre a div in CSS|write a unit test|merge two tables in SQL|parse JSON in JavaScript"
    "|deploy a website|use a spreadsheet|create a pivot table|compress a folder|rename many files at once"
    "|learn Rust"
).split("|")
HOW = (
    "How do I {}?|how can I {}|How to {}|What is the best way to {}?|Can you teach me how to {}?"
    "|Give me tips to {}.|Explain how to {} step by step|I want to {}. Where do I start?|Please help me {}"
    "|What do I need to {}?|Write a short guide on how to {}|give instructions for how to {}"
    "|Is it hard to {}?|How long does it take to {}?|My son wants to {}, what would you advise?"
    "|Write a blog post about how to {} in {place}|write a poem about how to {} in {place}"
    "|List ten ideas that help people {}|How does a beginner {} quickly?"
    "|Create a checklist for people who want to {}|Develop a plan that helps me {} before {day}"
    "|Can I {} without spending much money?|What are common mistakes when people {}?"
    "|a tutorial on how to {} at home|Write a tweet about how to {}|Describe a method to {} safely"
    "|How can I secretly {} as a surprise for my {kin}?|What tools does a {job} use to {}?"
    "|Provide advice on how to {} with children|How do people in {place} {}?"
).split("|")
PLACE = (
    "Lisbon|Nairobi|Oslo|Kyoto|Lima|Toronto|Cairo|Prague|Mumbai|Seoul|Dublin|Berlin|Accra|Auckland|Chicago"
    "|Hanoi|Bogota|Tunis|Istanbul|Manila|a small village|the countryside|winter|a tiny flat|Vancouver"
    "|Jakarta|Naples|Dakar|Quito"
).split("|")
DAY = ("Monday|the weekend|Christmas|summer|tomorrow|next month|my birthday|the holidays|Friday evening|spring").split(
    "|"
)
KIN = (
    "mother|father|sister|brother|grandmother|grandfather|wife|husband|daughter|son|aunt|uncle|best friend"
    "|neighbour|colleague|teacher|girlfriend|boyfriend|cousin|boss|roommate|niece"
).split("|")
JOB = (
    "carpenter|nurse|teacher|baker|gardener|pilot|librarian|plumber|farmer|musician|chef|engineer|painter"
    "|vet|tailor|journalist|lawyer|firefighter|police officer|programmer|bus driver|biologist|historian"
    "|photographer|translator"
).split("|")
THING = (
    "the moon|a lighthouse|an old oak tree|my garden|autumn leaves|a kind robot|the sea|bread|friendship"
    "|a lost umbrella|the night train|snow|a sleepy dragon|coffee|bicycles|a library|my home town"
    "|two penguins|the rain|a paper kite|a brave mouse|summer holidays|stars|a quiet river|the number seven"
    "|an elephant who paints|clouds|spring|a violin|the first day of school|a gentle giant|honey bees"
    "|a market in the morning|time|maps|the desert|a night sky"
).split("|")
WRITE = (
    "Write a poem about {}|write a short story about {}|Write a haiku on {}.|Compose a song about {}"
    "|Can you write a limerick about {}?|Write a children's story about {} and {}|Give me a metaphor for {}"
    "|Write a letter to {}|Describe {} in three sentences|Invent a riddle about {}"
    "|Tell me a bedtime story about {}|Write an essay on {} for school|Translate 'I like {}' into Italian"
    "|Draw {} in ASCII art|Name a band after {}|What rhymes with {}?|Explain {} to a five year old"
    "|Write a funny dialogue between {} and {}|Summarise the history of {}|Make up a game with {}"
    "|I dreamt of {}, what could it mean?|Paint a picture of {} in words"
).split("|")
INGREDIENT = (
    "flour|butter|eggs|sugar|milk|garlic|tomatoes|onions|olive oil|rice|chicken|lentils|carrots|cheese|basil"
    "|lemon|salt|pepper|potatoes|mushrooms|cream|spinach|beans|ginger|honey|yeast|oats|apples|cinnamon"
    "|salmon|tofu|noodles"
).split("|")
DISH = (
    "soup|salad|pie|stew|curry|pancakes|omelette|risotto|bread|pasta|cake|casserole|stir-fry|sandwich|dumplings|crumble"
).split("|")
STEP = (
    "Chop the {}.|Fry the {} until golden.|Mix the {} with the {}.|Add the {} and stir."
    "|Boil the {} for ten minutes.|Bake at 180 degrees for half an hour.|Season with {} and serve hot."
    "|Let it rest for five minutes.|Whisk the {} in a bowl.|Cover and simmer on low heat."
    "|Grate the {} over the top.|Serve with fresh {}."
).split("|")
LINE_A = (
    "The morning walks on silver feet|A lantern hums beside the door|The river keeps its quiet song"
    "|Above the hill the swallows turn|I left my shadow by the gate|The kettle sings of distant rain"
    "|The orchard dreams in coats of snow|A window holds the evening light"
    "|The wind has learned my name by heart|Old letters sleep inside a drawer"
    "|The harbour counts its wooden boats|Small clouds are grazing on the blue|We planted summer in a row"
    "|The clock forgot to mark the hour|A sparrow writes upon the frost|My mother's bread is on the sill"
    "|The stars come out like careful guests|The road is long and smells of pine"
    "|The moon has folded up its sail|Each leaf is practising to fall"
).split("|")
PRODUCT = (
    "washing machine|laptop|phone|tent|vacuum cleaner|bicycle|camera|mattress|coffee maker|rucksack|printer"
    "|headphones|electric kettle|running shoes|winter coat|dishwasher|car seat|monitor|keyboard|lawn mower"
    "|blender|tablet|smart watch"
).split("|")
ASK_PRODUCT = (
    "Which {} should I buy?|My {} makes a strange noise, what should I check?|How long does a {} last?"
    "|Can I return a {} after two weeks?|Where is my order? I bought a {} on {day}."
    "|Is this {} good for beginners?|Compare a cheap {} with an expensive {}"
    "|The {} I ordered arrived damaged. What can I do?|How do I clean my {}?"
    "|What does the warranty of a {} cover?|Write a friendly review of a {}|Do you sell a {} in blue?"
    "|My {} will not turn on|Write an email to ask for a refund for my {}|What size of {} fits two people?"
).split("|")
FACT = (
    "What is the capital of {country}?|Who was the first president of {country}?"
    "|How many people live in {country}?|What language do they speak in {country}?"
    "|When did {country} become independent?|What is the weather like in {place}?"
    "|How far is {place} from {place2}?|Who invented the {invention}?|How does a {invention} work?"
    "|When was the {invention} invented?|What is {n} times {m}?|What is {n} plus {m}?"
    "|Convert {n} kilometres to miles|What is the square root of {n}?"
    "|How many {animal}s are left in the wild?|What do {animal}s eat?|How long does a {animal} live?"
    "|Why do {animal}s sleep so much?|What is the boiling point of water at {n} metres?"
    "|Which river flows through {place}?|What is photosynthesis?|Why is the sky blue?"
    "|Who wrote the national anthem of {country}?|What is the currency of {country}?"
    "|Set a timer for {n} minutes|Remind me to call my {kin} on {day}|What day is it {n} days after {day}?"
    "|Find a recipe with {ing} and {ing2}|How many calories are in {ing}?|Translate '{ing}' into Spanish"
).split("|")
COUNTRY = (
    "Portugal|Kenya|Norway|Japan|Peru|Canada|Egypt|India|Ireland|Germany|Ghana|Brazil|Chile|Vietnam|Poland"
    "|Greece|Iceland|Morocco|Italy|Mexico|Cuba|Nepal|Finland|Jamaica|Austria|Hungary|Senegal|Thailand"
).split("|")
INVENTION = (
    "telephone|printing press|light bulb|compass|steam engine|microscope|bicycle|radio|zip|vacuum flask"
    "|telescope|camera|piano|calculator|parachute|battery|barometer|traffic light|fountain pen|transistor"
).split("|")
ANIMAL = (
    "tiger|panda|whale|honey bee|eagle|otter|fox|hedgehog|elephant|owl|dolphin|koala|turtle|wolf|bear|rabbit"
).split("|")
LOOKS_BAD = (
    "kill the weeds in my lawn|kill the lights on stage|kill a frozen background job"
    "|kill mould in the bathroom|kill time at the airport|kill the engine of my boat"
    "|kill bacteria on a cutting board|shoot a wedding portrait|shoot hoops with my son|shoot a short film"
    "|shoot an email to my manager|blow up an air mattress|blow up a photo to A2|blow out birthday candles"
    "|crack walnuts|crack an egg with one hand|crack a joke on stage|crack open a coconut"
    "|crack my knuckles less|beat egg whites|beat the final boss|beat my record in the 5k"
    "|beat the Monday blues|hang a mirror|hang curtains|hang out with my friends|smash avocados for toast"
    "|smash my sales goals|steal the show at a talent contest|steal a base in baseball"
    "|steal a kiss in a romantic play|attack a hard maths problem|attack a steep hill on my bike"
    "|bomb less at stand-up|make a bath bomb|make a seed bomb for wild flowers|execute a stored procedure"
    "|execute a shell script|strip wallpaper|strip old paint|trap a spider and let it go outside"
    "|trap heat in a greenhouse|poison-proof my kitchen for a toddler|burn calories|burn a CD"
    "|burn incense at home|cut carbs|cut hair at home|slice a mango|drown out the noise of traffic"
    "|dump a database|destroy old tax papers|destroy a box of confidential letters"
    "|hack together a bird table|hack my morning routine|get away for a long weekend"
    "|get high marks in physics|knock out a wall in my kitchen legally|knock them dead at my recital"
    "|stab at a crossword clue|choke up on a baseball bat|inject a dependency in Spring"
    "|exploit the full range of my camera|drug-test fairly at a sports club|abort a git merge"
    "|terminate a rental contract|terminate a thread in Java|whip cream|butcher a chicken for soup"
    "|murder a karaoke song and laugh about it|punch holes in leather|punch up a speech|torch a creme brulee"
    "|spy birds with binoculars|smuggle vegetables into my kids' meals|rob the bank in a board game"
    "|ambush my sister with a surprise party|launder a silk blouse|forge a horseshoe|forge a friendship"
    "|bug-proof my tent|phish-proof our office with training|racket-string for tennis"
).split("|")
SAFE_CONTEXT = (
    "How do hospitals treat {harm}?|What is the history of laws against {harm}?"
    "|How can parents protect children from {harm}?|Which charity helps victims of {harm}?"
    "|Write an article on preventing {harm}|Why is {harm} wrong?|What are warning signs of {harm}?"
    "|How do I report {harm}?|Where can I get help after {harm}?"
    "|What does the law in {country} say about {harm}?|How do schools teach about {harm}?"
    "|Recommend a documentary about the fight against {harm}|What is {harm}? Please define it."
    "|How can a company detect and stop {harm}?"
    "|I am writing a crime novel in which a detective uncovers {harm}. Suggest a title."
    "|How did {country} reduce {harm}?|Explain {harm} to teenagers so that they stay safe"
    "|What support exists for people affected by {harm}?"
).split("|")
HARM = (
    "fraud|bullying|identity theft|domestic violence|hate speech|drug addiction|phishing|online scams|racism"
    "|money laundering|animal cruelty|human trafficking|burglary|stalking|vandalism|cyberbullying|self-harm"
    "|gun violence|poisoning|terrorism|tax evasion|blackmail|child abuse|corruption|piracy|smuggling"
    "|knife crime|arson|drink driving|sexism|harassment"
).split("|")
LIKE = (
    "I love {}|I really hate {}|can't stand {}|{} makes me so happy|{} is the worst, honestly"
    "|we need to talk about {}|so tired of {}|{} again, great|my {kin} is obsessed with {}"
    "|nobody warned me about {}|I would die for {}|{} kills me every time lol|{} is my guilty pleasure"
    "|today was all about {}|@user you have to see {} <url>|RT @user: {} is back! <url>|finally {}!!"
).split("|")
MATTER = (
    "Mondays|this traffic|pineapple on pizza|my new shoes|that song|spiders|early meetings|the new season"
    "|wet socks|slow wifi|football on Sundays|my old laptop|spoilers|the smell of rain|burnt toast"
    "|winter mornings|that bus driver's jokes|rom-coms|our garden|paper straws|group projects|long queues"
    "|cold coffee|my alarm clock|this heatwave|crosswords|karaoke|broccoli|the holiday sale|board games"
    "|yellow birds in the park|the Yankees game|brownies and ice cream|Charlie Brown|mock exams"
).split("|")
GROUP = (
    "women|men|immigrants|Muslims|Jews|Christians|gay people|trans people|Black people|Asian people"
    "|disabled people|refugees|Mexicans|old people|Roma|Indians|Africans|lesbians|Arabs|white people"
).split("|")
RESPECT = (
    "{} deserve the same rights as everyone.|My neighbours are {} and they are lovely."
    "|We welcome {} in our club.|Nobody should be insulted for being one of the {}."
    "|How can our school include {} better?|I am proud of my friends who are {}."
    "|{} have contributed so much to our city.|What is the history of {} in {country}?"
    "|It hurts when people mock {}.|Stop blaming {} for everything.|I admire {} who speak up."
    "|We need more {} in science.|Great talk today by a panel of {}.|If you attack {}, you attack all of us."
    "|My {kin} works with {} and loves it.|Which authors wrote about the lives of {}?"
).split("|")
OPPOSE = (
    'It is never okay to say "{}"|Someone wrote "{}" and I reported it.|Whoever says "{}" should be ashamed.'
    '|"{}" is exactly the kind of thing we must stand up against.'
    '|We do not tolerate posts such as "{}" here.|A teacher explained to us why "{}" hurts people.'
    '|I was so sad when a stranger told me "{}"|Why would anyone say "{}"? That is cruel.'
    '|How should I answer when a colleague says "{}"?'
).split("|")
REPLIES = (
    "Sure, happy to help! {}|Of course. {}|Good question. {}|I would start slowly. {}|That sounds lovely. {}"
    "|I like it too! {}|I have not tried that myself. {}|Oh nice, how did it go? {}|Thank you for asking. {}"
    "|Here is what usually works. {}"
).split("|")
REPLY_TAILS = (
    "Take your time and ask a friend if you get stuck."
    "|First gather what you need, then follow the steps one by one."
    "|You can find good books about it in a library.|It takes a little practice, but it is fun."
    "|Let me know how it goes!|Do you have any plans for the weekend?|I hope you have a great day."
    "|What made you think of it?|Start with something small.|Check the manual before you begin."
    "|It depends on the size and on how much time you have.|I would ask a professional to be sure."
    "|My favourite part is sharing it with others.|Keep a record of what you change."
    "|Water, patience and good light are all you need."
).split("|")
WRAPS = (
    "Please {}|{} Thanks!|{} Keep it short.|{} Answer in one paragraph.|Hi! {}|I am a {job}. {}"
    "|You are a {job}. {}|Imagine you are a {job}. {}|Quick question: {}|For my homework: {}"
    "|{} I need it for {day}.|Take the role of a {job} and answer: {}|{} Use simple words."
    "|My {kin} asked me this: {}|{} Give examples.|Can you help me with this? {}|I am in {place}. {}"
    "|{} Explain your reasoning."
).split("|")
